package org.myqasr.core.audio;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.myqasr.core.UserError;

/** Cuts audio that is longer than a file takes where the speaker pauses, as speech/segments.py does. */
public final class Segments {
    private static final int PAUSE_SAMPLES = Waveforms.SAMPLE_RATE / 50; // 20 ms

    private Segments() {}

    /** Pieces of at most `max` samples; none of audio that is cut is shorter than `min`. */
    public static List<float[]> split(float[] waveform, int max, int min) {
        if (waveform.length > max && !(1 <= min && min <= max / 2)) {
            throw new UserError("audio can't be cut into pieces of " + min + " to " + max
                    + " samples; export with a longest input of at least twice the shortest");
        }
        List<float[]> pieces = new ArrayList<>();
        int start = 0;
        while (waveform.length - start > max) {
            int cut = cut(Arrays.copyOfRange(waveform, start, Math.min(start + max, waveform.length)),
                    waveform.length - start, max, min);
            pieces.add(Arrays.copyOfRange(waveform, start, start + cut));
            start += cut;
        }
        pieces.add(Arrays.copyOfRange(waveform, start, waveform.length));
        return pieces;
    }

    /** Where a rest of `restLength` > max samples, whose first `max` are given, is cut. */
    public static int cut(float[] head, int restLength, int max, int min) {
        int latest = Math.min(max, restLength - min);
        int earliest = Math.max((int) ((long) max * 2 / 3), min);
        return quietest(head, Math.min(earliest, latest), latest);
    }

    /** Middle of the 20 ms with the least energy within start..stop; stop when there's no room. */
    private static int quietest(float[] waveform, int start, int stop) {
        int width = Math.min(PAUSE_SAMPLES, stop - start);
        if (width == 0) {
            return stop;
        }
        int best = start;
        double least = Double.POSITIVE_INFINITY;
        for (int from = start; from + width <= stop; from++) {
            // Summed anew each time: a running sum's rounding would choose among equally silent places.
            double energy = 0;
            for (int i = from; i < from + width && energy < least; i++) {
                energy += (double) waveform[i] * waveform[i];
            }
            if (energy < least) {
                least = energy;
                best = from;
            }
        }
        return best + (width + 1) / 2;
    }
}
