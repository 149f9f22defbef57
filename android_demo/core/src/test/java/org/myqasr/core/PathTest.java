package org.myqasr.core;

import static org.junit.Assert.assertArrayEquals;
import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;

import java.util.Arrays;
import java.util.List;
import java.util.stream.Collectors;
import org.junit.Test;
import org.myqasr.core.text.Autoregression;
import org.myqasr.core.text.Logits;
import org.myqasr.core.text.Path;
import org.myqasr.core.text.TokenCache;
import org.myqasr.core.text.Tokens;
import org.myqasr.core.text.Word;

public class PathTest {
    private static final Tokens LETTERS = new Tokens(Arrays.asList("", " ", "A", "B", "C"), 0, null, false, false);

    private static Path path(int... tokens) {
        double[] posteriors = new double[tokens.length];
        Arrays.fill(posteriors, 0.5);
        return new Path(tokens, posteriors);
    }

    private static String text(List<Word> words) {
        return words.stream().map(word -> word.text).collect(Collectors.joining(" "));
    }

    @Test
    public void repeatsAreMergedBeforeBlanksAreDropped() {
        assertEquals("AAB C", text(path(2, 2, 0, 2, 3, 3, 0, 1, 1, 4, 0).ctcWords(LETTERS)));
        assertEquals("", text(path().ctcWords(LETTERS)));
        assertEquals("", text(path(0, 1, 0, 1).ctcWords(LETTERS)));
    }

    @Test
    public void aTokensConfidenceIsItsBestFrames() {
        Path path = new Path(new int[] {2, 2, 0, 3}, new double[] {0.2, 0.8, 1, 0.2});
        Word word = path.ctcWords(LETTERS).get(0);
        assertEquals("AB", word.text);
        assertEquals(0.4, word.confidence, 1e-12);
    }

    @Test
    public void piecesThatBeginWithASpaceCountForTheirWord() {
        Tokens pieces = new Tokens(Arrays.asList("", " he", "llo", " you"), 0, null, false, false);
        Path path = new Path(new int[] {1, 2, 0, 3}, new double[] {0.9, 0.4, 1, 0.7});
        List<Word> words = path.ctcWords(pieces);
        assertEquals("hello you", text(words));
        assertEquals(0.6, words.get(0).confidence, 1e-12);
        assertEquals(0.7, words.get(1).confidence, 1e-12);
    }

    @Test
    public void bytesAreSpelledAndTheEndTokenEndsTheText() {
        Autoregression how = new Autoregression(new int[] {5, 5}, 6, 9, new int[0], new int[0], new int[0]);
        Tokens bytes = new Tokens(
                Arrays.asList("Ġcaf", "Ã", "©", "Ġno", "!", "", ""), null, how, true, false);
        List<Word> words = path(0, 1, 2, 3, 4, 6, 0).writtenWords(bytes);
        assertEquals("café no!", text(words));
        assertEquals(0.5, words.get(0).confidence, 1e-12);
    }

    @Test
    public void whatEachIdWritesIsTakenAtItsWordAndNotBySpelling() {
        Tokens symbols = new Tokens(
                Arrays.asList("", " ", "<|speaker|>", "[noise]", "日\u3000本"), 0, null, false, false);
        assertEquals("<|speaker|> [noise]日\u3000本", text(path(2, 1, 3, 4).ctcWords(symbols)));
    }

    @Test
    public void spacesBeforePunctuationAreTidiedWhereTheTokenizerDoes() {
        Tokens letters = new Tokens(Arrays.asList("", " ", "it", "'s", "."), 0, null, false, true);
        assertEquals("it's it.", text(path(2, 1, 3, 1, 2, 1, 4).ctcWords(letters)));
    }

    @Test
    public void windowsAreJoinedWhereBothAreBlank() {
        Path earlier = path(2, 0, 3, 3, 0, 4, 4); // the end of a window is unsure
        Path later = path(3, 0, 2, 0, 3);
        Path joined = earlier.joined(later, 3, 0);
        assertArrayEquals(new int[] {2, 0, 3, 3, 0, 2, 0, 3}, joined.tokens);
    }

    @Test
    public void windowsThatNeverAgreeAreJoinedInTheMiddleOfTheOverlap() {
        assertArrayEquals(new int[] {2, 2, 2, 3, 3}, path(2, 2, 2, 2).joined(path(3, 3, 3), 2, 0).tokens);
    }

    @Test
    public void aGapBetweenWindowsIsSilence() {
        assertArrayEquals(new int[] {2, 0, 0, 3}, path(2).joined(path(3), 3, 0).tokens);
    }

    @Test
    public void greedyWritingNeverWritesSuppressedTokens() {
        Autoregression how = new Autoregression(new int[] {0, 1}, 3, 6, new int[] {4}, new int[] {3}, new int[0]);
        Logits logits = how.greedy((token, position) -> {
            float[] row = {0, 1, 2, 3, 4}; // would write 4 (suppressed), then 3 (the end, not at first)
            assertEquals(position < 2 ? position : 2, token);
            return row;
        });
        assertEquals(2, logits.frames);
        assertEquals(2, logits.best(0));
        assertEquals(3, logits.best(1));
    }

    @Test
    public void anyEndTokenEndsTheTextAndWritesWhatItWrites() {
        Autoregression how = new Autoregression(new int[] {0, 1}, 3, 9, new int[0], new int[0], new int[] {4});
        Logits logits = how.greedy((token, position) -> {
            float[] row = new float[5];
            row[position < 2 ? 2 : 4] = 1;
            return row;
        });
        assertEquals(2, logits.frames);
        Tokens symbols = new Tokens(Arrays.asList("a", "b", " and", "", "."), null, how, false, false);
        assertEquals("and.", text(path(2, 4, 2).writtenWords(symbols)));
        assertEquals("and", text(path(2, 3, 2).writtenWords(symbols)));
    }

    @Test
    public void aTextThatGoesRoundInCirclesIsStoppedAndNotBefore() {
        assertEquals(3 + 24, writtenOf(7));
        assertEquals(3 + 24, writtenOf(7, 8));
        assertEquals(3 + 24, writtenOf(7, 8, 7, 9, 6));
        assertEquals(3 + 60, writtenOf(5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19));
        int[] sentenceThreeTimes = new int[31];
        for (int i = 0; i < 30; i++) {
            sentenceThreeTimes[i] = i % 10;
        }
        sentenceThreeTimes[30] = 11;
        for (int length = 0; length <= 31; length++) {
            assertFalse(Autoregression.repeats(sentenceThreeTimes, length));
        }
    }

    /** How many tokens are written of three and then a group that never ends. */
    private static int writtenOf(int... group) {
        Autoregression how = new Autoregression(new int[] {3, 4}, 0, 400, new int[] {}, new int[] {}, new int[] {});
        return how.greedy((token, position) -> {
            float[] row = new float[30];
            row[position < 4 ? 20 + position : group[(position - 4) % group.length]] = 1;
            return row;
        }).frames;
    }

    @Test
    public void aCacheHoldsEachRowAtItsPositionInEveryHead() {
        TokenCache cache = new TokenCache(1, new long[] {2, 9, 2}, 3);
        cache.keep(0, 2, new float[] {1, 2, 3, 4});
        cache.keep(0, 0, new float[] {5, 6, 7, 8});
        float[] held = new float[12];
        cache.buffer(0).duplicate().get(held);
        assertArrayEquals(new float[] {5, 6, 0, 0, 1, 2, 7, 8, 0, 0, 3, 4}, held, 0);
        assertArrayEquals(new long[] {2, 3, 2}, cache.shape());
    }
}
