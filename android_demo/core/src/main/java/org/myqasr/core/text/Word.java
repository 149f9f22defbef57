package org.myqasr.core.text;

/** A word and how sure the model is of it: the geometric mean of its tokens' posteriors, 0 to 1. */
public final class Word {
    public final String text;
    public final double confidence;

    public Word(String text, double confidence) {
        this.text = text;
        this.confidence = confidence;
    }
}
