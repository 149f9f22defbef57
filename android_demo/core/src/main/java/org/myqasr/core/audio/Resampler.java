package org.myqasr.core.audio;

import org.myqasr.core.UserError;

/**
 * Any sample rate to 16 kHz by a polyphase filter: a windowed sinc (Kaiser, beta 10: about 100 dB) with one set
 * of taps for each place that an output sample can have between two input samples (Crochiere and Rabiner,
 * "Multirate Digital Signal Processing", 1983).
 */
public final class Resampler {
    private static final int ZERO_CROSSINGS = 48;
    private static final double KAISER_BETA = 10.0;
    /** Half of the way from full pass to full stop, relative to the lower of the two Nyquist frequencies. */
    private static final double CUTOFF = 0.93;

    private Resampler() {}

    /** The waveform at 16 kHz; lasts as long as the input, to a sample. */
    public static float[] to16k(float[] samples, int rate) {
        if (rate < 1000 || rate > 768_000) {
            throw new UserError("audio at " + rate + " Hz can't be used; 8,000 to 192,000 Hz are usual");
        }
        if (rate == Waveforms.SAMPLE_RATE) {
            return samples;
        }
        int divisor = gcd(rate, Waveforms.SAMPLE_RATE);
        int up = Waveforms.SAMPLE_RATE / divisor;
        int down = rate / divisor;
        double cutoff = CUTOFF * Math.min(1.0, (double) up / down); // in units of the input's Nyquist frequency
        int reach = (int) Math.ceil(ZERO_CROSSINGS / cutoff);
        float[][] taps = new float[up][];
        float[] out = new float[(int) (((long) samples.length * up + down / 2) / down)];
        for (int i = 0; i < out.length; i++) {
            long place = (long) i * down;
            int phase = (int) (place % up);
            int centre = (int) (place / up);
            if (taps[phase] == null) {
                taps[phase] = taps((double) phase / up, cutoff, reach);
            }
            out[i] = filtered(samples, centre - reach + 1, taps[phase]);
        }
        return out;
    }

    private static float filtered(float[] samples, int from, float[] taps) {
        double sum = 0;
        int first = Math.max(0, -from);
        int last = Math.min(taps.length, samples.length - from);
        for (int k = first; k < last; k++) {
            sum += (double) samples[from + k] * taps[k];
        }
        return (float) sum;
    }

    /** Taps for inputs centre-reach+1 .. centre+reach of an output that lies `fraction` after the centre. */
    private static float[] taps(double fraction, double cutoff, int reach) {
        double[] taps = new double[2 * reach];
        double sum = 0;
        for (int k = 0; k < taps.length; k++) {
            double distance = k - reach + 1 - fraction;
            double edge = distance / reach;
            double window = Math.abs(edge) >= 1 ? 0
                    : bessel(KAISER_BETA * Math.sqrt(1 - edge * edge)) / bessel(KAISER_BETA);
            double angle = Math.PI * cutoff * distance;
            taps[k] = window * (Math.abs(angle) < 1e-9 ? 1 : Math.sin(angle) / angle);
            sum += taps[k];
        }
        float[] scaled = new float[taps.length];
        for (int k = 0; k < taps.length; k++) {
            scaled[k] = (float) (taps[k] / sum);
        }
        return scaled;
    }

    /** Modified Bessel function of the first kind and order 0, by its power series. */
    private static double bessel(double x) {
        double sum = 1;
        double term = 1;
        for (int k = 1; term > 1e-12 * sum; k++) {
            term *= (x / 2 / k) * (x / 2 / k);
            sum += term;
        }
        return sum;
    }

    private static int gcd(int one, int other) {
        return other == 0 ? one : gcd(other, one % other);
    }
}
