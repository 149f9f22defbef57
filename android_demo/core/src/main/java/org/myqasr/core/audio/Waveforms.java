package org.myqasr.core.audio;

/** Arithmetic on mono 16 kHz waveforms in -1..1. */
public final class Waveforms {
    public static final int SAMPLE_RATE = 16_000;
    /** Loudest sample below which a recording is silence, as in speech/audio.py. */
    public static final double SILENT_PEAK = 1e-4;

    private static final double NORMALIZE_EPSILON = 1e-7;

    private Waveforms() {}

    /** Zero mean and unit variance, as the feature extractor of wav2vec 2.0 (normalize_waveform in Python). */
    public static float[] normalized(float[] waveform) {
        double sum = 0;
        for (float sample : waveform) {
            sum += sample;
        }
        double mean = sum / waveform.length;
        double squares = 0;
        for (float sample : waveform) {
            squares += (sample - mean) * (sample - mean);
        }
        double scale = Math.sqrt(squares / waveform.length + NORMALIZE_EPSILON);
        float[] features = new float[waveform.length];
        for (int i = 0; i < features.length; i++) {
            features[i] = (float) ((waveform[i] - mean) / scale);
        }
        return features;
    }

    public static double peak(float[] waveform) {
        double peak = 0;
        for (float sample : waveform) {
            peak = Math.max(peak, Math.abs(sample));
        }
        return peak;
    }

    public static double seconds(float[] waveform) {
        return (double) waveform.length / SAMPLE_RATE;
    }

    /** Samples of 16-bit PCM, as soundfile reads them. */
    public static float[] fromShorts(short[] samples, int count) {
        float[] waveform = new float[count];
        for (int i = 0; i < count; i++) {
            waveform[i] = samples[i] / 32768f;
        }
        return waveform;
    }
}
