package org.myqasr.core;

import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;

/** How latency is timed: all systems in turn on each utterance, many times over; see runtime_bench/results/protocol.py. */
public final class Protocol {
    /** When timing is enough: untimed runs; timed runs and their sum, of each system, at least; seconds at most. */
    public static final class Options {
        public final int warmup;
        public final int runs;
        public final double seconds;
        public final double maxSeconds;

        public Options(int warmup, int runs, double seconds, double maxSeconds) {
            if (warmup < 0 || runs < 1 || !(seconds >= 0) || !(maxSeconds > 0)) {
                throw new UserError("can't time with warmup " + warmup + ", runs " + runs + ", seconds " + seconds
                        + ", max_seconds " + maxSeconds + "; needs at least 0, 1, 0 and more than 0");
            }
            this.warmup = warmup;
            this.runs = runs;
            this.seconds = seconds;
            this.maxSeconds = maxSeconds;
        }

        Map<String, Object> toJson() {
            Map<String, Object> fields = new LinkedHashMap<>();
            fields.put("warmup", warmup);
            fields.put("runs", runs);
            fields.put("seconds", seconds);
            fields.put("max_seconds", maxSeconds);
            return fields;
        }
    }

    /** What was timed: on each turn every system ran the same utterance once. */
    public static final class Turns {
        /** Number of the utterance, [turn]. */
        public final List<Integer> utterances = new ArrayList<>();
        /** System, [turn]. */
        public final Map<String, List<Double>> seconds = new LinkedHashMap<>();

        private boolean enough(Options options) {
            double least = Double.POSITIVE_INFINITY;
            for (List<Double> times : seconds.values()) {
                double sum = 0;
                for (double time : times) {
                    sum += time;
                }
                least = Math.min(least, sum);
            }
            return utterances.size() >= options.runs && least >= options.seconds;
        }
    }

    /** What is timed: one system on utterance number 0, 1, ... */
    public interface Work {
        void process(int utterance);
    }

    /** Seconds that never go back. */
    public interface Clock {
        double seconds();
    }

    /** Told of runs done and wanted before each turn; stops the timing by returning false. */
    public interface Progress {
        boolean turn(int done, int wanted);
    }

    private Protocol() {}

    /** Time all systems on all utterances, round after round; their order is drawn anew for every turn. */
    public static Turns takeTurns(
            Map<String, Work> systems, int utterances, Options options, Clock clock, Progress progress) {
        Turns turns = new Turns();
        List<String> names = new ArrayList<>(systems.keySet());
        for (String name : names) {
            turns.seconds.put(name, new ArrayList<Double>());
        }
        if (names.isEmpty() || utterances == 0) {
            return turns;
        }
        Random draw = new Random(0);
        double begin = clock.seconds();
        for (int run = 0; run < options.warmup && clock.seconds() - begin < options.maxSeconds / 4; run++) {
            for (Work work : systems.values()) {
                work.process(run % utterances);
            }
        }
        while (!turns.enough(options)) {
            for (int utterance = 0; utterance < utterances; utterance++) {
                int done = turns.utterances.size();
                boolean late = done > 0 && clock.seconds() - begin >= options.maxSeconds;
                if (late || !progress.turn(Math.min(done, options.runs), options.runs)) {
                    return turns;
                }
                Collections.shuffle(names, draw);
                for (String name : names) {
                    double start = clock.seconds();
                    systems.get(name).process(utterance);
                    turns.seconds.get(name).add(clock.seconds() - start);
                }
                turns.utterances.add(utterance);
            }
        }
        return turns;
    }
}
