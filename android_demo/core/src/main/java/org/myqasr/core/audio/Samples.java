package org.myqasr.core.audio;

import java.util.Arrays;

/** A waveform that grows at its end and is taken from its start. */
public final class Samples {
    private float[] values = new float[Waveforms.SAMPLE_RATE];
    private int start;
    private int end;

    public void append(float[] more) {
        if (end + more.length > values.length) {
            int wanted = Math.max(size() + more.length, 2 * size());
            float[] moved = new float[wanted];
            System.arraycopy(values, start, moved, 0, size());
            values = moved;
            end -= start;
            start = 0;
        }
        System.arraycopy(more, 0, values, end, more.length);
        end += more.length;
    }

    public int size() {
        return end - start;
    }

    public float[] range(int from, int to) {
        return Arrays.copyOfRange(values, start + from, start + to);
    }

    public void drop(int count) {
        start += count;
    }
}
