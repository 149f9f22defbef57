package org.myqasr.core;

import org.myqasr.core.text.Logits;

/** A loaded model: features in, logits out. Used by one thread at a time. */
public interface Engine extends AutoCloseable {
    /** Logits of one utterance's features [samples], which are normalised and padded already. */
    Logits logits(float[] features);

    /** Runtime and version in a few words. */
    String description();

    int threads();

    @Override
    void close();
}
