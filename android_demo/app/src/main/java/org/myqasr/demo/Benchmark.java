package org.myqasr.demo;

import android.content.Context;
import android.os.Build;
import android.os.SystemClock;
import java.io.File;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.charset.Charset;
import java.text.SimpleDateFormat;
import java.util.ArrayList;
import java.util.Date;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TimeZone;
import org.myqasr.core.BenchReport;
import org.myqasr.core.Protocol;
import org.myqasr.core.UserError;
import org.myqasr.core.audio.Waveforms;
import org.myqasr.core.files.BundleStore;
import org.myqasr.core.files.Hashes;
import org.myqasr.demo.engines.LoadedModel;

/** One benchmark as runtime_bench does it: text of all clips, then timings in turns, memory while loading. */
final class Benchmark {
    /** What to run. */
    static final class Plan {
        final List<BundleStore.Kept> systems;
        final List<Clips.Clip> clips;
        final int threads;
        final Protocol.Options timing;
        final String command;

        Plan(List<BundleStore.Kept> systems, List<Clips.Clip> clips, int threads, Protocol.Options timing,
                String command) {
            if (systems.isEmpty() || clips.isEmpty() || threads < 1) {
                throw new UserError("can't bench " + systems.size() + " models on " + clips.size() + " clips with "
                        + threads + " threads");
            }
            this.systems = systems;
            this.clips = clips;
            this.threads = threads;
            this.timing = timing;
            this.command = command;
            for (BundleStore.Kept kept : systems) {
                if (!kept.manifest.weightsHash.equals(systems.get(0).manifest.weightsHash)) {
                    throw new UserError(kept.name() + " and " + systems.get(0).name() + " are of different models; "
                            + "bench them apart");
                }
            }
        }
    }

    private Benchmark() {}

    static BenchReport run(Context context, Plan plan, Protocol.Progress progress) throws IOException {
        BenchReport report = new BenchReport();
        report.created = utc("yyyy-MM-dd'T'HH:mm:ss'+00:00'");
        report.threads = plan.threads;
        report.command = plan.command;
        report.timing = plan.timing;
        report.model = plan.systems.get(0).manifest.model;
        report.weightsHash = plan.systems.get(0).manifest.weightsHash;
        report.classifies = plan.systems.get(0).manifest.tokens.classifies();
        DeviceFacts.describe(context, report.device);
        describeSoftware(report.versions);
        int thermalBefore = DeviceFacts.thermalStatus(context);
        report.versions.put("battery before", DeviceFacts.battery(context));
        List<float[]> waveforms = new ArrayList<>();
        for (Clips.Clip clip : plan.clips) {
            waveforms.add(clip.waveform);
            report.utterances.add(new BenchReport.Utterance(clip.name, seconds(clip), clip.text));
        }
        report.audioHash = Hashes.ofWaveforms(waveforms);
        List<LoadedModel> models = new ArrayList<>();
        try {
            for (BundleStore.Kept kept : plan.systems) {
                models.add(loaded(kept, plan, report));
            }
            Map<String, Protocol.Work> work = new LinkedHashMap<>();
            for (int i = 0; i < models.size(); i++) {
                LoadedModel model = models.get(i);
                List<List<float[]>> inputs = new ArrayList<>();
                for (Clips.Clip clip : plan.clips) {
                    report.systems.get(i).heard.add(model.recognizer.transcribe(clip.waveform));
                    inputs.add(model.recognizer.inputs(clip.waveform));
                }
                work.put(report.systems.get(i).name, utterance -> {
                    for (float[] features : inputs.get(utterance)) {
                        model.engine.logits(features);
                    }
                });
            }
            report.timed(Protocol.takeTurns(work, plan.clips.size(), plan.timing, Benchmark::clock, progress));
        } finally {
            for (LoadedModel model : models) {
                model.close();
            }
        }
        noteConditions(context, report, thermalBefore);
        return report;
    }

    /** Write the report, whole or not at all, under a name of its own. */
    static File save(Context context, BenchReport report) throws IOException {
        File folder = Places.results(context);
        if (!folder.isDirectory() && !folder.mkdirs()) {
            throw new IOException("can't write " + folder);
        }
        File file = new File(folder, "bench-" + utc("yyyyMMdd-HHmmss") + ".json");
        File part = new File(folder, file.getName() + ".part");
        try (OutputStream out = new FileOutputStream(part)) {
            out.write(report.toJson().getBytes(Charset.forName("UTF-8")));
        }
        if (!part.renameTo(file)) {
            throw new IOException("can't write " + file);
        }
        return file;
    }

    /** Load one model while watching the process's memory, and run it once on the longest clip. */
    private static LoadedModel loaded(BundleStore.Kept kept, Plan plan, BenchReport report) throws IOException {
        BenchReport.System system = new BenchReport.System();
        system.name = kept.name();
        system.runner = kept.artifact.file.endsWith(".pte") ? "executorch" : "litert";
        system.artifact = kept.artifact;
        System.gc();
        system.baselineBytes = DeviceFacts.pssBytes();
        LoadedModel model = LoadedModel.open(kept, plan.threads);
        system.loadMs = model.loadMs;
        system.description = model.engine.description();
        system.threads = model.engine.threads();
        float[] longest = plan.clips.get(0).waveform;
        for (Clips.Clip clip : plan.clips) {
            longest = clip.waveform.length > longest.length ? clip.waveform : longest;
        }
        float[] features = model.recognizer.inputs(longest).get(0);
        double start = clock();
        model.recognizer.run(features);
        system.firstInferenceMs = 1e3 * (clock() - start);
        system.peakBytes = Math.max(DeviceFacts.pssBytes(), system.baselineBytes);
        report.systems.add(system);
        return model;
    }

    private static void describeSoftware(Map<String, String> versions) {
        versions.put("android", Build.VERSION.RELEASE + " (" + Build.ID + ")");
        versions.put("executorch", "1.5.1");
        versions.put("litert", "2.3.0");
        versions.put("cpu features", DeviceFacts.cpuFeatures());
    }

    private static void noteConditions(Context context, BenchReport report, int thermalBefore) {
        int thermalAfter = DeviceFacts.thermalStatus(context);
        report.versions.put("battery after", DeviceFacts.battery(context));
        report.versions.put("thermal status",
                DeviceFacts.thermalName(thermalBefore) + " to " + DeviceFacts.thermalName(thermalAfter));
        report.versions.put("load", "not known: apps may not see other apps' load");
        if (Math.max(thermalBefore, thermalAfter) >= DeviceFacts.THROTTLED) {
            report.problems.add("the phone was hot (thermal status " + DeviceFacts.thermalName(thermalBefore) + " to "
                    + DeviceFacts.thermalName(thermalAfter) + ") and slows down then; let it cool and run again");
        }
        if (DeviceFacts.savesPower(context)) {
            report.problems.add("the phone saves power; switch the battery saver off and run again");
        }
    }

    private static double seconds(Clips.Clip clip) {
        return Waveforms.seconds(clip.waveform);
    }

    private static double clock() {
        return SystemClock.elapsedRealtimeNanos() / 1e9;
    }

    private static String utc(String pattern) {
        SimpleDateFormat format = new SimpleDateFormat(pattern, Locale.ROOT);
        format.setTimeZone(TimeZone.getTimeZone("UTC"));
        return format.format(new Date());
    }
}
