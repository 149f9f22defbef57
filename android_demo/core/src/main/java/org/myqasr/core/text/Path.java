package org.myqasr.core.text;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/** A best path: per frame a token and its posterior. Paths of overlapping windows can be joined. */
public final class Path {
    private static final char SPELLED_SPACE = '\u0120'; // how GPT-2's alphabet writes a space

    public final int[] tokens;
    public final double[] posteriors;

    public Path(int[] tokens, double[] posteriors) {
        this.tokens = tokens;
        this.posteriors = posteriors;
    }

    public static final Path EMPTY = new Path(new int[0], new double[0]);

    public static Path of(Logits logits) {
        int[] tokens = new int[logits.frames];
        double[] posteriors = new double[logits.frames];
        for (int frame = 0; frame < logits.frames; frame++) {
            tokens[frame] = logits.best(frame);
            posteriors[frame] = logits.posterior(frame, tokens[frame]);
        }
        return new Path(tokens, posteriors);
    }

    public int frames() {
        return tokens.length;
    }

    /**
     * This path up to a seam, then that of a later window whose first frame is this path's frame `offset`.
     *
     * <p>The seam is the frame nearest the middle of the overlap where both are blank: there no token is cut
     * in two. Without such a frame it is one where both agree, else the middle.
     */
    public Path joined(Path later, int offset, int blank) {
        if (offset >= frames()) {
            int gap = offset - frames();
            int[] silent = new int[gap];
            double[] sure = new double[gap];
            Arrays.fill(silent, blank);
            Arrays.fill(sure, 1.0);
            return spliced(later, frames(), 0, silent, sure);
        }
        int overlap = Math.min(frames() - offset, later.frames());
        int seam = overlap / 2;
        int score = -1;
        for (int i = 0; i < overlap; i++) {
            boolean agree = tokens[offset + i] == later.tokens[i];
            int merit = agree ? (later.tokens[i] == blank ? 2 : 1) * overlap - Math.abs(i - overlap / 2) : -1;
            if (merit > score) {
                score = merit;
                seam = i;
            }
        }
        return spliced(later, offset + seam, seam, new int[0], new double[0]);
    }

    private Path spliced(Path later, int kept, int from, int[] between, double[] sure) {
        int count = later.frames() - from;
        int[] newTokens = Arrays.copyOf(tokens, kept + between.length + count);
        double[] newPosteriors = Arrays.copyOf(posteriors, newTokens.length);
        System.arraycopy(between, 0, newTokens, kept, between.length);
        System.arraycopy(sure, 0, newPosteriors, kept, between.length);
        System.arraycopy(later.tokens, from, newTokens, kept + between.length, count);
        System.arraycopy(later.posteriors, from, newPosteriors, kept + between.length, count);
        return new Path(newTokens, newPosteriors);
    }

    /** Words of CTC's best path: repeats merged, then blanks dropped. A token's posterior is its best frame's. */
    public List<Word> ctcWords(Tokens alphabet) {
        List<Integer> kept = new ArrayList<>();
        List<Double> sure = new ArrayList<>();
        for (int frame = 0; frame < tokens.length; frame++) {
            if (tokens[frame] == alphabet.blank) {
                continue;
            }
            if (frame > 0 && tokens[frame] == tokens[frame - 1]) {
                int last = sure.size() - 1;
                sure.set(last, Math.max(sure.get(last), posteriors[frame]));
            } else {
                kept.add(tokens[frame]);
                sure.add(posteriors[frame]);
            }
        }
        return words(kept, sure, alphabet);
    }

    /** Words of a path that is written token by token, up to and with its end. */
    public List<Word> writtenWords(Tokens alphabet) {
        List<Integer> kept = new ArrayList<>();
        List<Double> sure = new ArrayList<>();
        for (int i = 0; i < tokens.length && (i == 0 || !alphabet.autoregression.ends(tokens[i - 1])); i++) {
            kept.add(tokens[i]);
            sure.add(posteriors[i]);
        }
        return words(kept, sure, alphabet);
    }

    private static List<Word> words(List<Integer> ids, List<Double> posteriors, Tokens alphabet) {
        StringBuilder joined = new StringBuilder();
        List<Double> logs = new ArrayList<>(); // of each character's token
        for (int i = 0; i < ids.size(); i++) {
            String written = alphabet.written(ids.get(i));
            joined.append(written);
            boolean counted = false;
            for (int k = 0; k < written.length(); k++) {
                // Only a token's first letter counts: a long piece is one decision.
                boolean counts = !counted && !isSpace(written.charAt(k), alphabet);
                logs.add(counts ? Math.log(posteriors.get(i)) : Double.NaN);
                counted |= counts;
            }
        }
        List<Word> words = new ArrayList<>();
        List<Double> last = new ArrayList<>(); // logs of the last word's characters
        int start = 0;
        int lastEnd = -1;
        for (int end = 0; end <= joined.length(); end++) {
            if (end < joined.length() && !isSpace(joined.charAt(end), alphabet)) {
                continue;
            }
            String text = alphabet.readable(joined.substring(start, end));
            if (!text.isEmpty()) {
                if (!words.isEmpty() && lastEnd + 1 == start && alphabet.leansBack(text)) {
                    text = words.remove(words.size() - 1).text + text;
                } else {
                    last.clear();
                }
                last.addAll(logs.subList(start, end));
                words.add(new Word(text, geometricMean(last)));
                lastEnd = end;
            }
            start = end + 1;
        }
        return words;
    }

    private static boolean isSpace(char symbol, Tokens alphabet) {
        return symbol == ' ' || (symbol >= '\t' && symbol <= '\r') || (alphabet.byteLevel && symbol == SPELLED_SPACE);
    }

    private static double geometricMean(List<Double> logs) {
        double sum = 0;
        int count = 0;
        for (double value : logs) {
            if (!Double.isNaN(value)) {
                sum += value;
                count++;
            }
        }
        return count == 0 ? 0 : Math.exp(sum / count);
    }
}
