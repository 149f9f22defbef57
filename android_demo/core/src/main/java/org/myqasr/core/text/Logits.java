package org.myqasr.core.text;

import java.util.List;
import org.myqasr.core.UserError;

/** What a model gives: [frames][vocab], row after row. */
public final class Logits {
    public final int frames;
    public final int vocab;
    public final float[] values;

    public Logits(int frames, int vocab, float[] values) {
        if (vocab < 1 || (long) frames * vocab != values.length) {
            throw new UserError(values.length + " logits are not " + frames + " frames of " + vocab + " tokens");
        }
        this.frames = frames;
        this.vocab = vocab;
        this.values = values;
    }

    public static Logits ofRows(List<float[]> rows) {
        int vocab = rows.get(0).length;
        float[] values = new float[rows.size() * vocab];
        for (int i = 0; i < rows.size(); i++) {
            System.arraycopy(rows.get(i), 0, values, i * vocab, vocab);
        }
        return new Logits(rows.size(), vocab, values);
    }

    /** The best token of a frame; the first of equals, as numpy's argmax. */
    public int best(int frame) {
        return best(values, frame * vocab, vocab);
    }

    public static int best(float[] values, int from, int count) {
        int best = 0;
        for (int i = 1; i < count; i++) {
            if (values[from + i] > values[from + best]) {
                best = i;
            }
        }
        return best;
    }

    /** The posterior (softmax) of a token in a frame. */
    public double posterior(int frame, int token) {
        int from = frame * vocab;
        double own = values[from + token];
        double sum = 0;
        for (int i = 0; i < vocab; i++) {
            sum += Math.exp(values[from + i] - own);
        }
        return 1 / sum;
    }

    public boolean holdsNaN() {
        for (float value : values) {
            if (Float.isNaN(value)) {
                return true;
            }
        }
        return false;
    }
}
