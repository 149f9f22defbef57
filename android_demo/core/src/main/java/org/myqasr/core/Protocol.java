package org.myqasr.core;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** How latency is timed: all systems in turn on each utterance, many times over; see runtime_bench/protocol.py. */
public final class Protocol {
    /** Untimed rounds on the first utterance, timed rounds over all, and when no further utterance is begun. */
    public static final class Options {
        public final int warmup;
        public final int repeats;
        public final double maxSeconds;

        public Options(int warmup, int repeats, double maxSeconds) {
            if (warmup < 0 || repeats < 1 || !(maxSeconds > 0)) {
                throw new UserError("can't time with warmup " + warmup + ", repeats " + repeats + ", max_seconds "
                        + maxSeconds + "; needs at least 0, 1 and more than 0");
            }
            this.warmup = warmup;
            this.repeats = repeats;
            this.maxSeconds = maxSeconds;
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

    /** Told before each timed utterance; stops the timing by returning false. */
    public interface Progress {
        boolean turn(int done, int total);
    }

    private Protocol() {}

    /** Seconds that each system took, [utterance][repeat]; utterances past the time limit have none. */
    public static Map<String, List<List<Double>>> interleaved(
            Map<String, Work> systems, int utterances, Options options, Clock clock, Progress progress) {
        Map<String, List<List<Double>>> times = new LinkedHashMap<>();
        for (String name : systems.keySet()) {
            List<List<Double>> empty = new ArrayList<>();
            for (int i = 0; i < utterances; i++) {
                empty.add(new ArrayList<Double>());
            }
            times.put(name, empty);
        }
        List<String> names = new ArrayList<>(systems.keySet());
        if (names.isEmpty() || utterances == 0) {
            return times;
        }
        double begin = clock.seconds();
        for (int i = 0; i < options.warmup; i++) {
            for (Work work : systems.values()) {
                work.process(0);
            }
        }
        int total = options.repeats * utterances;
        for (int turn = 0; turn < total; turn++) {
            boolean late = turn > 0 && clock.seconds() - begin >= options.maxSeconds;
            if (late || !progress.turn(turn, total)) {
                return times;
            }
            int utterance = turn % utterances;
            for (int i = 0; i < names.size(); i++) {
                String name = names.get((turn + i) % names.size());
                double start = clock.seconds();
                systems.get(name).process(utterance);
                times.get(name).get(utterance).add(clock.seconds() - start);
            }
        }
        return times;
    }
}
