package org.myqasr.core;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import org.myqasr.core.audio.Segments;
import org.myqasr.core.audio.Waveforms;
import org.myqasr.core.files.Manifest;
import org.myqasr.core.text.Logits;
import org.myqasr.core.text.Path;
import org.myqasr.core.text.Tokens;
import org.myqasr.core.text.Transcript;
import org.myqasr.core.text.Word;

/** From a waveform of any length to words, the same way as runtime_bench/measure/transcription.py. */
public final class Recognizer {
    public final Tokens tokens;
    public final int strideSamples;
    public final int minSamples;
    public final int maxSamples;

    private final Engine engine;
    private final boolean normalize;

    public Recognizer(Engine engine, Tokens tokens, Manifest.Input input, int minSamples, int maxSamples) {
        this.engine = engine;
        this.tokens = tokens;
        this.strideSamples = input.strideSamples;
        this.normalize = input.normalize;
        this.minSamples = minSamples;
        this.maxSamples = maxSamples;
    }

    /** Words of a 16 kHz waveform. */
    public Transcript transcribe(float[] waveform) {
        Transcript heard = Transcript.NOTHING;
        for (float[] features : inputs(waveform)) {
            heard = heard.and(words(run(features)));
        }
        return heard;
    }

    /** Features of each piece, within the model's limits: normalised by itself, zero-padded if too short. */
    public List<float[]> inputs(float[] waveform) {
        List<float[]> inputs = new ArrayList<>();
        for (float[] piece : Segments.split(waveform, maxSamples, shortestPiece())) {
            inputs.add(features(piece));
        }
        return inputs;
    }

    /** Logits of features, for timing the model alone. */
    public Logits run(float[] features) {
        Logits logits = engine.logits(features);
        if (logits.holdsNaN()) {
            throw new UserError(engine.description() + " gives NaN; the file or model is broken");
        }
        if (logits.vocab != tokens.symbols.size()) {
            throw new UserError("the model gives " + logits.vocab + " outputs for " + tokens.symbols.size()
                    + " tokens; manifest.json belongs to another model");
        }
        return logits;
    }

    /** A model with a window of its own takes only whole ones, padded. */
    public int shortestPiece() {
        return Math.min(minSamples, maxSamples / 2);
    }

    public float[] features(float[] piece) {
        float[] features = normalize ? Waveforms.normalized(piece) : piece;
        return features.length < minSamples ? Arrays.copyOf(features, minSamples) : features;
    }

    public Transcript words(Logits logits) {
        Path path = Path.of(logits);
        if (tokens.classifies()) {
            return new Transcript(Collections.singletonList(label(logits)), path.tokens);
        }
        return new Transcript(tokens.blank == null ? path.writtenWords(tokens) : path.ctcWords(tokens), path.tokens);
    }

    private Word label(Logits logits) {
        float[] mean = new float[logits.vocab];
        for (int i = 0; i < logits.values.length; i++) {
            mean[i % logits.vocab] += logits.values[i] / logits.frames;
        }
        Logits one = new Logits(1, logits.vocab, mean);
        int best = one.best(0);
        return new Word(tokens.symbols.get(best), one.posterior(0, best));
    }
}
