package org.myqasr.core;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/** Processing time of one system; see runtime_bench/results/protocol.py for what each figure means. */
public final class Latency {
    public final int utterances;
    public final int runs;
    public final int repeats;
    public final double audioSeconds;
    public final double medianMs;
    public final double p90Ms;
    public final double p99Ms;
    public final double trimmedMeanMs;
    public final double rtf;
    public final double rtfMedian;
    public final double spread;
    public final double drift;

    /** Figures of one system from its turns: utterance and seconds of each, and the utterances' lengths. */
    public static Latency of(List<Integer> turns, List<Double> seconds, double[] audioSeconds) {
        if (turns.isEmpty() || turns.size() != seconds.size()) {
            throw new UserError(seconds.size() + " timings of " + turns.size()
                    + " turns; give at least one utterance to time");
        }
        return new Latency(turns, seconds, audioSeconds);
    }

    private Latency(List<Integer> turns, List<Double> seconds, double[] audioLengths) {
        Map<Integer, List<Double>> byUtterance = new TreeMap<>();
        for (int i = 0; i < turns.size(); i++) {
            if (!byUtterance.containsKey(turns.get(i))) {
                byUtterance.put(turns.get(i), new ArrayList<Double>());
            }
            byUtterance.get(turns.get(i)).add(seconds.get(i));
        }
        Map<Integer, Double> latency = new TreeMap<>();
        List<Double> ratios = new ArrayList<>();
        int least = Integer.MAX_VALUE;
        double total = 0;
        double length = 0;
        for (Map.Entry<Integer, List<Double>> entry : byUtterance.entrySet()) {
            double own = Statistics.median(array(entry.getValue()));
            double audio = audioLengths[entry.getKey()];
            latency.put(entry.getKey(), own);
            ratios.add(own / audio);
            least = Math.min(least, entry.getValue().size());
            total += own;
            length += audio;
        }
        List<Double> relative = new ArrayList<>();
        for (int i = 0; i < turns.size(); i++) {
            relative.add(seconds.get(i) / latency.get(turns.get(i)));
        }
        double[] all = array(seconds);
        int third = Math.max(all.length / 3, 1);
        utterances = byUtterance.size();
        runs = all.length;
        repeats = least;
        audioSeconds = length;
        medianMs = 1e3 * Statistics.median(all);
        p90Ms = 1e3 * Statistics.quantile(all, 0.9);
        p99Ms = 1e3 * Statistics.quantile(all, 0.99);
        trimmedMeanMs = 1e3 * Statistics.trimmedMean(all, 0.2);
        rtf = total / length;
        rtfMedian = Statistics.median(array(ratios));
        spread = Statistics.quantile(array(relative), 0.9);
        drift = Statistics.median(array(relative.subList(all.length - third, all.length)))
                / Statistics.median(array(relative.subList(0, third)));
    }

    /** As in a BenchReport's JSON. */
    public Map<String, Object> toJson() {
        Map<String, Object> fields = new LinkedHashMap<>();
        fields.put("utterances", utterances);
        fields.put("runs", runs);
        fields.put("repeats", repeats);
        fields.put("audio_seconds", audioSeconds);
        fields.put("median_ms", medianMs);
        fields.put("p90_ms", p90Ms);
        fields.put("p99_ms", p99Ms);
        fields.put("trimmed_mean_ms", trimmedMeanMs);
        fields.put("rtf", rtf);
        fields.put("speed", 1 / rtf);
        fields.put("rtf_median", rtfMedian);
        fields.put("spread", spread);
        fields.put("drift", drift);
        return fields;
    }

    private static double[] array(List<Double> values) {
        double[] array = new double[values.size()];
        for (int i = 0; i < array.length; i++) {
            array[i] = values.get(i);
        }
        return array;
    }
}
