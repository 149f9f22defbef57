package org.myqasr.core;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/** How a model that writes token by token is started and stopped; see speech/decoding.py. */
public final class Autoregression {
    /** The logits [vocab] of the next token, from the ids so far. */
    public interface Next {
        float[] logits(long[] ids);
    }

    public final int[] prompt;
    public final int end;
    public final int maxTokens;
    public final int[] suppressed;
    public final int[] suppressedFirst;

    Autoregression(int[] prompt, int end, int maxTokens, int[] suppressed, int[] suppressedFirst) {
        if (prompt.length < 2 || maxTokens <= prompt.length) {
            throw new UserError("a prompt of " + prompt.length + " tokens and at most " + maxTokens
                    + " in all: there must be two in the prompt and room for one more");
        }
        this.prompt = prompt;
        this.end = end;
        this.maxTokens = maxTokens;
        this.suppressed = suppressed;
        this.suppressedFirst = suppressedFirst;
    }

    static Autoregression of(Fields fields) {
        return new Autoregression(
                fields.integers("prompt"),
                fields.integer("end"),
                fields.integer("max_tokens"),
                fields.integers("suppressed"),
                fields.integers("suppressed_first"));
    }

    /** Greedy decoding: logits [tokens written][vocab], forbidden ids at -infinity, up to and with the end token. */
    public Logits greedy(Next next) {
        long[] ids = new long[prompt.length];
        for (int i = 0; i < ids.length; i++) {
            ids[i] = prompt[i];
        }
        List<float[]> rows = new ArrayList<>();
        while (ids.length < maxTokens) {
            float[] row = next.logits(ids);
            forbid(row, suppressed);
            if (rows.isEmpty()) {
                forbid(row, suppressedFirst);
            }
            rows.add(row);
            int best = Logits.best(row, 0, row.length);
            if (best == end) {
                break;
            }
            ids = Arrays.copyOf(ids, ids.length + 1);
            ids[ids.length - 1] = best;
        }
        return Logits.ofRows(rows);
    }

    private static void forbid(float[] row, int[] ids) {
        for (int id : ids) {
            row[id] = Float.NEGATIVE_INFINITY;
        }
    }
}
