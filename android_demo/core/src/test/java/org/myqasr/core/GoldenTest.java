package org.myqasr.core;

import static org.junit.Assert.assertArrayEquals;
import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertTrue;

import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import org.junit.Test;
import org.myqasr.core.files.Fields;
import org.myqasr.core.files.Hashes;
import org.myqasr.core.text.Scoring;
import org.myqasr.core.text.Transcript;

/** The same figures as in Python, from the same golden file. */
public class GoldenTest {
    private static final double EXACT = 1e-12;

    @Test
    public void logitsGiveTheSameTextAndConfidences() {
        Recognizer recognizer = Golden.recognizer(null, 480_000);
        List<Fields> clips = Golden.list("clips");
        assertTrue(clips.size() >= 50);
        for (Fields clip : clips) {
            Transcript heard = recognizer.words(Golden.logits(clip));
            assertEquals(clip.text("text"), heard.text());
            double[] found = heard.words.stream().mapToDouble(word -> word.confidence).toArray();
            assertArrayEquals(Golden.numbers(clip.list("confidences")), found, 1e-5);
        }
    }

    @Test
    public void textsGiveTheSameErrorsAndWer() {
        Recognizer recognizer = Golden.recognizer(null, 480_000);
        Scoring.Counts total = Scoring.Counts.NONE;
        for (Fields clip : Golden.list("clips")) {
            String heard = recognizer.words(Golden.logits(clip)).text();
            Scoring.Counts words = Scoring.wordErrors(clip.text("reference"), heard);
            assertCounts(clip, "words", words);
            assertCounts(clip, "characters", Scoring.characterErrors(clip.text("reference"), heard));
            total = total.plus(words);
        }
        assertTrue("a WER of nothing", total.errors() > 0);
        assertEquals(Golden.FILE.number("wer"), total.rate(), EXACT);
    }

    @Test
    public void difficultTextsHaveTheSameNormalFormAndErrors() {
        for (Fields pair : Golden.list("scoring")) {
            String reference = pair.text("reference");
            String hypothesis = pair.text("hypothesis");
            assertEquals(pair.list("normal").get(0), Scoring.normalized(reference));
            assertEquals(pair.list("normal").get(1), Scoring.normalized(hypothesis));
            assertCounts(pair, "words", Scoring.wordErrors(reference, hypothesis));
            assertCounts(pair, "characters", Scoring.characterErrors(reference, hypothesis));
        }
    }

    @Test
    public void quantilesAndTrimmedMeansAreTheSame() {
        for (Fields entry : Golden.list("statistics")) {
            double[] values = Golden.numbers(entry.list("values"));
            double[] shares = Golden.numbers(entry.list("shares"));
            double[] expected = Golden.numbers(entry.list("quantiles"));
            for (int i = 0; i < shares.length; i++) {
                assertEquals(expected[i], Statistics.quantile(values, shares[i]), EXACT * 100);
            }
            assertEquals(entry.number("trimmed_mean"), Statistics.trimmedMean(values, 0.2), EXACT * 100);
        }
    }

    @Test
    public void timingsGiveTheSameLatencyFigures() {
        Fields entry = Golden.FILE.object("latency");
        List<Integer> turns = new ArrayList<>();
        for (double turn : Golden.numbers(entry.list("turns"))) {
            turns.add((int) turn);
        }
        List<Double> seconds = new ArrayList<>();
        for (double time : Golden.numbers(entry.list("seconds"))) {
            seconds.add(time);
        }
        Latency found = Latency.of(turns, seconds, Golden.numbers(entry.list("audio_seconds")));
        Fields expected = entry.object("expected");
        for (String name : expected.names()) {
            Number value = (Number) found.toJson().get(name);
            assertEquals(name, expected.number(name), value.doubleValue(), 1e-9);
        }
    }

    @Test
    public void wavFilesHaveTheSameAudioHash() throws IOException {
        List<float[]> waveforms = new ArrayList<>();
        for (Fields session : Golden.list("sessions")) {
            if (session.list("clips").size() == 1) {
                waveforms.add(Sessions.joined(Golden.clips(), session.list("clips")));
            }
        }
        assertEquals(Golden.FILE.text("audio_hash"), Hashes.ofWaveforms(waveforms));
    }

    private static void assertCounts(Fields entry, String name, Scoring.Counts found) {
        double[] counts = {found.substitutions, found.insertions, found.deletions, found.referenceLength};
        assertArrayEquals(entry.text("reference"), Golden.numbers(entry.list(name)), counts, 0);
    }
}
