package org.myqasr.core.text;

import java.text.Normalizer;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Locale;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Word and character errors as speech/scoring.py counts them. */
public final class Scoring {
    /** Edits that turn references into hypotheses. */
    public static final class Counts {
        public static final Counts NONE = new Counts(0, 0, 0, 0);

        public final int substitutions;
        public final int insertions;
        public final int deletions;
        public final int referenceLength;

        Counts(int substitutions, int insertions, int deletions, int referenceLength) {
            this.substitutions = substitutions;
            this.insertions = insertions;
            this.deletions = deletions;
            this.referenceLength = referenceLength;
        }

        public Counts plus(Counts other) {
            return new Counts(
                    substitutions + other.substitutions,
                    insertions + other.insertions,
                    deletions + other.deletions,
                    referenceLength + other.referenceLength);
        }

        public int errors() {
            return substitutions + insertions + deletions;
        }

        /** Edits per reference word or character; can exceed 1. Infinite for edits on no reference. */
        public double rate() {
            if (referenceLength == 0) {
                return errors() > 0 ? Double.POSITIVE_INFINITY : 0;
            }
            return (double) errors() / referenceLength;
        }
    }

    /** One step of an alignment; one of the two is null for words left out or put in. */
    public static final class Step {
        public final String reference;
        public final String hypothesis;

        Step(String reference, String hypothesis) {
            this.reference = reference;
            this.hypothesis = hypothesis;
        }

        public boolean same() {
            return reference != null && reference.equals(hypothesis);
        }
    }

    private Scoring() {}

    public static Counts wordErrors(String reference, String hypothesis) {
        return counts(align(words(reference), words(hypothesis)));
    }

    public static Counts characterErrors(String reference, String hypothesis) {
        return counts(align(characters(reference), characters(hypothesis)));
    }

    /** Words of the two texts, normalised and side by side. */
    public static List<Step> alignedWords(String reference, String hypothesis) {
        return align(words(reference), words(hypothesis));
    }

    /** Lower case (NFKC); punctuation and symbols become spaces, save apostrophes within a word. */
    public static String normalized(String text) {
        String folded = withoutTags(text).replaceAll("[’‘ʼ＇`´]", "'").replaceAll("\\p{Cf}", "");
        for (int i = 0; i < 2; i++) {
            folded = Normalizer.normalize(caseFolded(folded), Normalizer.Form.NFKC);
        }
        StringBuilder kept = new StringBuilder();
        for (int i = 0; i < folded.length(); i += Character.charCount(folded.codePointAt(i))) {
            int symbol = folded.codePointAt(i);
            boolean inWord = kept.length() > 0 && kept.charAt(kept.length() - 1) != ' ';
            int next = i + Character.charCount(symbol);
            boolean letterFollows = next < folded.length() && Character.isLetterOrDigit(folded.codePointAt(next));
            boolean keeps = isLetterOrNumber(symbol)
                    || (isMark(symbol) && inWord)
                    || (symbol == '\'' && inWord && letterFollows);
            kept.appendCodePoint(keeps ? symbol : ' ');
        }
        return Tokens.singleSpaces(kept.toString());
    }

    /** Without what nobody says, as [laughter], <COMMA> or {SMACK}; of [laughter-yes] the word stays. */
    private static String withoutTags(String text) {
        Matcher tags = TAG.matcher(text);
        StringBuffer kept = new StringBuffer();
        while (tags.find()) {
            String word = tags.group(1) == null ? "" : tags.group(1);
            tags.appendReplacement(kept, Matcher.quoteReplacement(" " + word + " "));
        }
        return tags.appendTail(kept).toString();
    }

    private static final Pattern TAG = Pattern.compile(
            "\\[(?:laughter-([^\\s\\[\\]]+)|[A-Za-z][A-Za-z _:/-]*)\\]"
                    + "|<[A-Za-z][A-Za-z_:/-]*>|\\{[A-Za-z][A-Za-z_:/-]*\\}");

    /** Java has no case folding: capitals first make one of the forms that share a capital. */
    private static String caseFolded(String text) {
        return text.toUpperCase(Locale.ROOT).toLowerCase(Locale.ROOT).replace('ς', 'σ');
    }

    private static boolean isLetterOrNumber(int symbol) {
        int type = Character.getType(symbol);
        return Character.isLetter(symbol)
                || type == Character.DECIMAL_DIGIT_NUMBER
                || type == Character.LETTER_NUMBER
                || type == Character.OTHER_NUMBER;
    }

    private static boolean isMark(int symbol) {
        int type = Character.getType(symbol);
        return type == Character.NON_SPACING_MARK
                || type == Character.COMBINING_SPACING_MARK
                || type == Character.ENCLOSING_MARK;
    }

    private static List<String> words(String text) {
        String normal = normalized(text);
        List<String> words = new ArrayList<>();
        if (!normal.isEmpty()) {
            Collections.addAll(words, normal.split(" "));
        }
        return words;
    }

    private static List<String> characters(String text) {
        String normal = normalized(text);
        List<String> characters = new ArrayList<>();
        for (int i = 0; i < normal.length(); i += Character.charCount(normal.codePointAt(i))) {
            characters.add(new String(Character.toChars(normal.codePointAt(i))));
        }
        return characters;
    }

    private static Counts counts(List<Step> steps) {
        int substitutions = 0;
        int insertions = 0;
        int deletions = 0;
        for (Step step : steps) {
            if (step.reference == null) {
                insertions++;
            } else if (step.hypothesis == null) {
                deletions++;
            } else if (!step.same()) {
                substitutions++;
            }
        }
        return new Counts(substitutions, insertions, deletions, steps.size() - insertions);
    }

    /**
     * Minimum edit distance (Wagner and Fischer, 1974). Of equally short alignments the one that the Python side's
     * library takes: going back from the end, first deletions, then insertions that are better than substitutions.
     */
    private static List<Step> align(List<String> reference, List<String> hypothesis) {
        int rows = reference.size();
        int columns = hypothesis.size();
        int[][] cost = new int[rows + 1][columns + 1];
        for (int i = 0; i <= rows; i++) {
            for (int j = 0; j <= columns; j++) {
                if (i == 0 || j == 0) {
                    cost[i][j] = i + j;
                } else {
                    int change = reference.get(i - 1).equals(hypothesis.get(j - 1)) ? 0 : 1;
                    cost[i][j] = Math.min(
                            cost[i - 1][j - 1] + change, 1 + Math.min(cost[i - 1][j], cost[i][j - 1]));
                }
            }
        }
        List<Step> steps = new ArrayList<>();
        int i = rows;
        int j = columns;
        while (i > 0 || j > 0) {
            boolean bothLeft = i > 0 && j > 0;
            if (j == 0 || (bothLeft && cost[i][j] == cost[i - 1][j] + 1)) {
                steps.add(new Step(reference.get(--i), null));
            } else if (i == 0 || cost[i][j - 1] == cost[i - 1][j - 1] - 1) {
                steps.add(new Step(null, hypothesis.get(--j)));
            } else {
                steps.add(new Step(reference.get(--i), hypothesis.get(--j)));
            }
        }
        Collections.reverse(steps);
        return steps;
    }
}
