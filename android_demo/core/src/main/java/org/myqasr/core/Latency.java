package org.myqasr.core;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Processing time of one system; an utterance's latency is the median of its repeats. See runtime_bench/protocol.py. */
public final class Latency {
    public final int utterances;
    /** Of the utterance that was timed least often. */
    public final int repeats;
    public final double audioSeconds;
    public final double medianMs;
    public final double p90Ms;
    /** Mean of the utterances' latencies without the fastest and the slowest fifth. */
    public final double trimmedMeanMs;
    /** Processing seconds per second of audio, over all. */
    public final double rtf;
    public final double rtfMedian;
    /** 90 % of single timings lie below this multiple of their utterance's latency. */
    public final double spread;

    private Latency(double[] latencies, double[] ratios, double[] spreads, int repeats, double audioSeconds) {
        this.utterances = latencies.length;
        this.repeats = repeats;
        this.audioSeconds = audioSeconds;
        medianMs = 1e3 * Statistics.median(latencies);
        p90Ms = 1e3 * Statistics.quantile(latencies, 0.9);
        trimmedMeanMs = 1e3 * Statistics.trimmedMean(latencies, 0.2);
        double total = 0;
        for (double latency : latencies) {
            total += latency;
        }
        rtf = total / audioSeconds;
        rtfMedian = Statistics.median(ratios);
        spread = Statistics.quantile(spreads, 0.9);
    }

    /** Figures of one system from its seconds [utterance][repeat] and the utterances' lengths. */
    public static Latency of(List<List<Double>> times, double[] audioSeconds) {
        List<Double> latencies = new ArrayList<>();
        List<Double> ratios = new ArrayList<>();
        List<Double> spreads = new ArrayList<>();
        int repeats = Integer.MAX_VALUE;
        double length = 0;
        for (int i = 0; i < times.size(); i++) {
            double[] seconds = array(times.get(i));
            if (seconds.length == 0) {
                continue;
            }
            double latency = Statistics.median(seconds);
            latencies.add(latency);
            ratios.add(latency / audioSeconds[i]);
            for (double single : seconds) {
                spreads.add(single / latency);
            }
            repeats = Math.min(repeats, seconds.length);
            length += audioSeconds[i];
        }
        if (latencies.isEmpty()) {
            throw new UserError("nothing was timed; give at least one utterance");
        }
        return new Latency(array(latencies), array(ratios), array(spreads), repeats, length);
    }

    /** As in a BenchReport's JSON. */
    Map<String, Object> toJson() {
        Map<String, Object> fields = new LinkedHashMap<>();
        fields.put("utterances", utterances);
        fields.put("repeats", repeats);
        fields.put("audio_seconds", audioSeconds);
        fields.put("median_ms", medianMs);
        fields.put("p90_ms", p90Ms);
        fields.put("rtf", rtf);
        fields.put("rtf_median", rtfMedian);
        fields.put("spread", spread);
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
