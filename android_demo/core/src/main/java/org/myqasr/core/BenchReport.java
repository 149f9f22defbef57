package org.myqasr.core;

import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.myqasr.core.files.Hashes;
import org.myqasr.core.files.Json;
import org.myqasr.core.files.Manifest;
import org.myqasr.core.text.Scoring;
import org.myqasr.core.text.Transcript;

/** The result of one benchmark on the phone, as the JSON that {@code myqasr} reads; see runtime_bench/results/report.py. */
public final class BenchReport {
    private static final int SCHEMA_VERSION = 3;
    private static final int MIN_UTTERANCES = 5;
    private static final int MIN_REPEATS = 3;
    private static final double MAX_SPREAD = 1.5;
    private static final double MAX_DRIFT = 1.15;

    /** What the benchmark ran on. */
    public static final class Device {
        public String cpu = "";
        public String machine = "";
        public int cores;
        public long memoryBytes;
        public String system = "";

        Map<String, Object> toJson() {
            Map<String, Object> fields = new LinkedHashMap<>();
            fields.put("cpu", cpu);
            fields.put("machine", machine);
            fields.put("cores", cores);
            fields.put("usable_cores", cores);
            fields.put("memory_bytes", memoryBytes);
            fields.put("system", system);
            return fields;
        }
    }

    /** A clip and, where known, what was said in it. */
    public static final class Utterance {
        final String clip;
        final double seconds;
        final String text;

        public Utterance(String clip, double seconds, String text) {
            this.clip = clip;
            this.seconds = seconds;
            this.text = text;
        }
    }

    /** One artifact on all utterances. Memory is PSS. */
    public static final class System {
        public String name = "";
        public String runner = "";
        public String description = "";
        public Manifest.Artifact artifact;
        public int threads;
        public List<Transcript> heard = new ArrayList<>();
        /** Of the model's runs on the report's turns. */
        public List<Double> seconds = new ArrayList<>();
        public double loadMs;
        public double firstInferenceMs;
        public long baselineBytes;
        public long peakBytes;
        /** Made by {@link BenchReport#timed}. */
        public Latency latency;
    }

    public final Device device = new Device();
    public final List<Utterance> utterances = new ArrayList<>();
    public final List<System> systems = new ArrayList<>();
    /** Software versions, and what the phone said of its heat and battery. */
    public final Map<String, String> versions = new LinkedHashMap<>();
    /** Why timings are not to be relied on, beyond what {@link #allProblems} finds itself. */
    public final List<String> problems = new ArrayList<>();

    public boolean classifies;
    public String command = "";
    public String created = "";
    public String model = "";
    public String weightsHash = "";
    public String audioHash = "";
    public int threads;
    public Protocol.Options timing;
    private List<Integer> turns = new ArrayList<>();

    /** Take over what was timed. */
    public void timed(Protocol.Turns found) {
        turns = found.utterances;
        double[] lengths = new double[utterances.size()];
        for (int i = 0; i < lengths.length; i++) {
            lengths[i] = utterances.get(i).seconds;
        }
        for (System system : systems) {
            system.seconds = found.seconds.get(system.name);
            system.latency = Latency.of(turns, system.seconds, lengths);
        }
    }

    /** The report as JSON text, with the sha256 of its content; the first system is the baseline. */
    public String toJson() {
        if (systems.isEmpty() || utterances.isEmpty()) {
            throw new UserError("a report of " + systems.size() + " systems on " + utterances.size() + " clips");
        }
        Map<String, Object> fields = new LinkedHashMap<>();
        fields.put("schema_version", SCHEMA_VERSION);
        fields.put("task", classifies ? "classification" : "transcription");
        fields.put("provenance", provenance());
        fields.put("device", device.toJson());
        fields.put("threads", threads);
        fields.put("cores", new ArrayList<Object>()); // apps can't pin
        Map<String, Object> load = new LinkedHashMap<>(); // apps don't see what others do; versions say so
        for (String name : new String[] {"busy_cores", "others_share", "stolen_share"}) {
            load.put(name, 0.0);
        }
        fields.put("load", load);
        fields.put("timing", timing.toJson());
        List<Object> spoken = new ArrayList<>();
        for (Utterance utterance : utterances) {
            Map<String, Object> entry = new LinkedHashMap<>();
            entry.put("clip", utterance.clip);
            entry.put("seconds", utterance.seconds);
            entry.put("text", utterance.text);
            entry.put("speaker", null);
            spoken.add(entry);
        }
        fields.put("utterances", spoken);
        fields.put("turns", turns);
        fields.put("baseline", systems.get(0).name);
        List<Object> results = new ArrayList<>();
        for (System system : systems) {
            results.add(result(system));
        }
        fields.put("systems", results);
        fields.put("problems", allProblems());
        Map<String, Object> stored = new LinkedHashMap<>();
        stored.put("sha256", Hashes.ofText(Json.write(fields)));
        stored.putAll(fields);
        return Json.write(stored) + "\n";
    }

    private Map<String, Object> provenance() {
        List<String> texts = new ArrayList<>();
        for (Utterance utterance : utterances) {
            texts.add(utterance.text == null ? "" : utterance.text);
        }
        Collections.sort(texts);
        Map<String, Object> fields = new LinkedHashMap<>();
        fields.put("command", command);
        fields.put("created", created);
        fields.put("versions", versions);
        fields.put("model", model);
        fields.put("weights_hash", weightsHash);
        fields.put("audio_hash", audioHash);
        fields.put("text_hash", Hashes.ofText(Json.write(texts)));
        return fields;
    }

    private Map<String, Object> result(System system) {
        List<Object> transcripts = new ArrayList<>();
        int same = 0;
        int labelled = 0;
        int notWorse = 0;
        int flipped = 0;
        int tokens = 0;
        for (int i = 0; i < utterances.size(); i++) {
            Transcript heard = system.heard.get(i);
            Transcript expected = systems.get(0).heard.get(i);
            String text = utterances.get(i).text;
            transcripts.add(heard.text());
            same += heard.text().equals(expected.text()) ? 1 : 0;
            if (text != null) {
                int errors = Scoring.wordErrors(text, heard.text()).errors();
                labelled++;
                notWorse += errors <= Scoring.wordErrors(text, expected.text()).errors() ? 1 : 0;
            }
            int longer = Math.max(heard.tokens.length, expected.tokens.length);
            tokens += longer;
            for (int k = 0; k < longer; k++) {
                boolean both = k < heard.tokens.length && k < expected.tokens.length;
                flipped += both && heard.tokens[k] == expected.tokens[k] ? 0 : 1;
            }
        }
        Map<String, Object> flips = new LinkedHashMap<>();
        flips.put("flipped", flipped);
        flips.put("tokens", tokens);
        Map<String, Object> fields = new LinkedHashMap<>();
        fields.put("name", system.name);
        fields.put("runner", system.runner);
        fields.put("description", system.description);
        fields.put("artifact", artifact(system.artifact));
        fields.put("sha256", system.artifact.sha256);
        fields.put("size_bytes", system.artifact.sizeBytes);
        fields.put("threads", system.threads);
        fields.put("transcripts", transcripts);
        fields.put("words", errors(system, true));
        fields.put("characters", errors(system, false));
        fields.put("agreement", (double) same / utterances.size());
        fields.put("not_worse", labelled == 0 ? null : (Object) ((double) notWorse / labelled));
        fields.put("flips", flips);
        fields.put("latency", system.latency == null ? null : system.latency.toJson());
        fields.put("end_to_end", null);
        fields.put("seconds", system.seconds);
        Map<String, Object> startup = new LinkedHashMap<>();
        startup.put("load_ms", system.loadMs);
        startup.put("first_inference_ms", system.firstInferenceMs);
        startup.put("baseline_rss_bytes", system.baselineBytes);
        startup.put("peak_rss_bytes", system.peakBytes);
        startup.put("loads", 1);
        fields.put("startup", startup);
        fields.put("operations", new ArrayList<Object>());
        return fields;
    }

    private static Map<String, Object> artifact(Manifest.Artifact artifact) {
        Map<String, Object> fields = new LinkedHashMap<>();
        fields.put("file", artifact.file);
        fields.put("target", artifact.target);
        fields.put("sha256", artifact.sha256);
        fields.put("size_bytes", artifact.sizeBytes);
        fields.put("mean_bits", artifact.meanBits);
        fields.put("plan_hash", artifact.planHash);
        fields.put("profile_hash", artifact.profileHash);
        return fields;
    }

    /** Errors over the utterances with a reference; null when there is none. */
    private Map<String, Object> errors(System system, boolean words) {
        Scoring.Counts total = Scoring.Counts.NONE;
        boolean any = false;
        for (int i = 0; i < utterances.size(); i++) {
            String text = utterances.get(i).text;
            if (text != null) {
                any = true;
                total = total.plus(words
                        ? Scoring.wordErrors(text, system.heard.get(i).text())
                        : Scoring.characterErrors(text, system.heard.get(i).text()));
            }
        }
        if (!any) {
            return null;
        }
        Map<String, Object> fields = new LinkedHashMap<>();
        fields.put("substitutions", total.substitutions);
        fields.put("insertions", total.insertions);
        fields.put("deletions", total.deletions);
        fields.put("reference_length", total.referenceLength);
        return fields;
    }

    /** Why timings are not to be relied on; none means valid. */
    public List<String> allProblems() {
        List<String> found = new ArrayList<>(problems);
        for (System system : systems) {
            Latency latency = system.latency;
            if (latency == null) {
                continue;
            }
            if (latency.utterances < MIN_UTTERANCES) {
                found.add(system.name + ": " + latency.utterances + " utterances timed, " + MIN_UTTERANCES
                        + " are needed");
            }
            if (latency.repeats < MIN_REPEATS || latency.runs < timing.runs) {
                found.add(system.name + ": " + latency.runs + " runs, " + latency.repeats + " of one utterance; "
                        + timing.runs + " and " + MIN_REPEATS + " are needed");
            }
            if (latency.drift > MAX_DRIFT || latency.drift < 1 / MAX_DRIFT) {
                found.add(String.format(java.util.Locale.ROOT,
                        "%s: throttled or disturbed, the last third of the runs took %.2f times as long as the first; "
                                + "let the phone cool and run again", system.name, latency.drift));
            }
            if (latency.spread > MAX_SPREAD) {
                found.add(String.format(java.util.Locale.ROOT,
                        "%s: timings spread %.2f-fold (90 %% over median), %s is the limit; close other programs "
                                + "and run again", system.name, latency.spread, MAX_SPREAD));
            }
        }
        return found;
    }
}
