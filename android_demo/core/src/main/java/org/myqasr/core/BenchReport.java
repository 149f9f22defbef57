package org.myqasr.core;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** The result of one benchmark on the phone, as the JSON that {@code myqasr} reads; see runtime_bench/report.py. */
public final class BenchReport {
    private static final int SCHEMA_VERSION = 2;
    private static final int MIN_UTTERANCES = 5;
    private static final int MIN_REPEATS = 3;
    private static final double MAX_SPREAD = 1.5;

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

    /** One artifact on all utterances. Times of loading are of the first load; memory is PSS. */
    public static final class System {
        public String name = "";
        public String runner = "";
        public String description = "";
        public String sha256 = "";
        public long sizeBytes;
        public int threads;
        public List<String> transcripts = new ArrayList<>();
        public Latency latency;
        public double loadMs;
        public double firstInferenceMs;
        public long baselineBytes;
        public long peakBytes;
    }

    public final Device device = new Device();
    public final List<Utterance> utterances = new ArrayList<>();
    public final List<System> systems = new ArrayList<>();
    /** Software versions, and what the phone said of its heat and battery. */
    public final Map<String, String> versions = new LinkedHashMap<>();
    /** Why timings are not to be relied on, beyond what {@link #toJson} finds itself. */
    public final List<String> problems = new ArrayList<>();

    public boolean classifies;
    public String created = "";
    public String audioHash = "";
    public int threads;
    public double busyCores;

    /** The report as JSON text; the first system is the baseline. UserError when there is none. */
    public String toJson() {
        if (systems.isEmpty() || utterances.isEmpty()) {
            throw new UserError("a report of " + systems.size() + " systems on " + utterances.size() + " clips");
        }
        Map<String, Object> fields = new LinkedHashMap<>();
        fields.put("schema_version", SCHEMA_VERSION);
        fields.put("task", classifies ? "classification" : "transcription");
        fields.put("created", created);
        fields.put("device", device.toJson());
        fields.put("versions", versions);
        fields.put("threads", threads);
        fields.put("busy_cores", busyCores);
        fields.put("audio_hash", audioHash);
        List<Object> spoken = new ArrayList<>();
        for (Utterance utterance : utterances) {
            Map<String, Object> entry = new LinkedHashMap<>();
            entry.put("clip", utterance.clip);
            entry.put("seconds", utterance.seconds);
            entry.put("text", utterance.text);
            spoken.add(entry);
        }
        fields.put("utterances", spoken);
        fields.put("baseline", systems.get(0).name);
        List<Object> results = new ArrayList<>();
        for (System system : systems) {
            results.add(result(system));
        }
        fields.put("systems", results);
        fields.put("problems", allProblems());
        return Json.write(fields) + "\n";
    }

    private Map<String, Object> result(System system) {
        Map<String, Object> fields = new LinkedHashMap<>();
        fields.put("name", system.name);
        fields.put("runner", system.runner);
        fields.put("description", system.description);
        fields.put("sha256", system.sha256);
        fields.put("size_bytes", system.sizeBytes);
        fields.put("threads", system.threads);
        fields.put("transcripts", new ArrayList<Object>(system.transcripts));
        fields.put("words", errors(system.transcripts, true));
        fields.put("characters", errors(system.transcripts, false));
        int same = 0;
        for (int i = 0; i < system.transcripts.size(); i++) {
            same += system.transcripts.get(i).equals(systems.get(0).transcripts.get(i)) ? 1 : 0;
        }
        fields.put("agreement", (double) same / system.transcripts.size());
        fields.put("latency", system.latency == null ? null : system.latency.toJson());
        Map<String, Object> startup = new LinkedHashMap<>();
        startup.put("load_ms", system.loadMs);
        startup.put("first_inference_ms", system.firstInferenceMs);
        startup.put("baseline_rss_bytes", system.baselineBytes);
        startup.put("peak_rss_bytes", system.peakBytes);
        fields.put("startup", startup);
        return fields;
    }

    /** Errors over the utterances with a reference; null when there is none. */
    private Map<String, Object> errors(List<String> transcripts, boolean words) {
        Scoring.Counts total = Scoring.Counts.NONE;
        boolean any = false;
        for (int i = 0; i < utterances.size(); i++) {
            String text = utterances.get(i).text;
            if (text != null) {
                any = true;
                total = total.plus(words
                        ? Scoring.wordErrors(text, transcripts.get(i))
                        : Scoring.characterErrors(text, transcripts.get(i)));
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
            if (latency.repeats < MIN_REPEATS) {
                found.add(system.name + ": " + latency.repeats + " repeats, " + MIN_REPEATS + " are needed");
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
