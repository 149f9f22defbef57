package org.myqasr.core.text;

import java.util.ArrayList;
import java.util.List;
import org.myqasr.core.UserError;
import org.myqasr.core.files.Fields;

/** How a model that writes token by token is started and stopped; see speech/decoding.py. */
public final class Autoregression {
    /** The logits [vocab] of what follows a token, from it and its position; asked in turn, the prompt's first. */
    public interface Next {
        float[] logits(long token, int position);
    }

    private static final int LEAST_REPEATS = 4;
    private static final int LEAST_REPEATED = 24;

    public final int[] prompt;
    public final int end;
    public final int maxTokens;
    public final int[] suppressed;
    public final int[] suppressedFirst;
    public final int[] moreEnds;

    public Autoregression(
            int[] prompt, int end, int maxTokens, int[] suppressed, int[] suppressedFirst, int[] moreEnds) {
        if (prompt.length < 2 || maxTokens <= prompt.length) {
            throw new UserError("a prompt of " + prompt.length + " tokens and at most " + maxTokens
                    + " in all: there must be two in the prompt and room for one more");
        }
        this.prompt = prompt;
        this.end = end;
        this.maxTokens = maxTokens;
        this.suppressed = suppressed;
        this.suppressedFirst = suppressedFirst;
        this.moreEnds = moreEnds;
    }

    public static Autoregression of(Fields fields) {
        return new Autoregression(
                fields.integers("prompt"),
                fields.integer("end"),
                fields.integer("max_tokens"),
                fields.integers("suppressed"),
                fields.integers("suppressed_first"),
                fields.integers("more_ends"));
    }

    /** Whether the text is over when this id is written. */
    public boolean ends(int id) {
        boolean found = id == end;
        for (int other : moreEnds) {
            found |= id == other;
        }
        return found;
    }

    /**
     * Greedy decoding: logits [tokens written][vocab], forbidden ids at -infinity, up to and with an end token, to
     * maxTokens, or until the text repeats.
     */
    public Logits greedy(Next next) {
        int last = prompt.length - 1;
        for (int position = 0; position < last; position++) {
            next.logits(prompt[position], position);
        }
        long token = prompt[last];
        int[] written = new int[maxTokens - prompt.length];
        List<float[]> rows = new ArrayList<>();
        while (rows.size() < written.length) {
            float[] row = next.logits(token, last + rows.size());
            forbid(row, suppressed);
            if (rows.isEmpty()) {
                forbid(row, suppressedFirst);
            }
            int best = Logits.best(row, 0, row.length);
            written[rows.size()] = best;
            rows.add(row);
            if (ends(best) || repeats(written, rows.size())) {
                break;
            }
            token = best;
        }
        return Logits.ofRows(rows);
    }

    /** Whether the first `length` ids end with one group of ids, again and again: `repeats` of speech/decoding.py. */
    public static boolean repeats(int[] ids, int length) {
        for (int size = 1; size <= length / LEAST_REPEATS; size++) {
            int from = length - Math.max(LEAST_REPEATS * size, LEAST_REPEATED);
            int place = from + size;
            while (from >= 0 && place < length && ids[place] == ids[place - size]) {
                place++;
            }
            if (place == length) {
                return true;
            }
        }
        return false;
    }

    private static void forbid(float[] row, int[] ids) {
        for (int id : ids) {
            row[id] = Float.NEGATIVE_INFINITY;
        }
    }
}
