package org.myqasr.core.text;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;

/** What was heard. */
public final class Transcript {
    public static final Transcript NOTHING = new Transcript(Collections.<Word>emptyList(), new int[0]);

    public final List<Word> words;
    /** Best token of every frame, or those written. */
    public final int[] tokens;

    public Transcript(List<Word> words, int[] tokens) {
        this.words = words;
        this.tokens = tokens;
    }

    public String text() {
        StringBuilder text = new StringBuilder();
        for (Word word : words) {
            text.append(text.length() > 0 ? " " : "").append(word.text);
        }
        return text.toString();
    }

    public Transcript and(Transcript next) {
        List<Word> all = new ArrayList<>(words);
        all.addAll(next.words);
        int[] both = Arrays.copyOf(tokens, tokens.length + next.tokens.length);
        System.arraycopy(next.tokens, 0, both, tokens.length, next.tokens.length);
        return new Transcript(all, both);
    }
}
