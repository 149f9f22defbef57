package org.myqasr.core;

import java.util.ArrayList;
import java.util.List;

/** What was heard. */
public final class Transcript {
    public final List<Word> words;

    public Transcript(List<Word> words) {
        this.words = words;
    }

    public String text() {
        StringBuilder text = new StringBuilder();
        for (Word word : words) {
            text.append(text.length() > 0 ? " " : "").append(word.text);
        }
        return text.toString();
    }

    Transcript and(Transcript next) {
        List<Word> all = new ArrayList<>(words);
        all.addAll(next.words);
        return new Transcript(all);
    }
}
