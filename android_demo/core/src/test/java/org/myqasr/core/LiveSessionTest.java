package org.myqasr.core;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertThrows;
import static org.junit.Assert.assertTrue;

import java.io.IOException;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import org.junit.Test;
import org.myqasr.core.files.Fields;
import org.myqasr.core.files.Manifest;
import org.myqasr.core.text.Logits;
import org.myqasr.core.text.Scoring;
import org.myqasr.core.text.Tokens;

/**
 * Sessions of real speech in pieces of 100 ms. The engine replays what the default model said to the inputs that the
 * same sessions gave it when the golden file was made, and fails for inputs that it doesn't know.
 */
public class LiveSessionTest {
    private final List<Fields> recorded = Golden.list("requests");

    @Test
    public void theFinalTextIsThatOfDecodingOffline() throws IOException {
        int single = 0;
        int pieces = 0;
        for (Fields session : Golden.list("sessions")) {
            ReplayEngine engine = engine();
            Sessions.Shown shown = spoken(session, engine);
            assertEquals(session.text("text"), shown.last.text());
            single += session.list("clips").size() == 1 ? 1 : 0;
            pieces += engine.requests - shown.partials;
        }
        assertTrue(single + " clips", single >= 50);
        assertTrue("no long recording was cut: " + pieces, pieces > single + 10);
    }

    @Test
    public void partialTextIsTheFinalTextSoFar() throws IOException {
        int words = 0;
        int errors = 0;
        for (Fields session : Golden.list("sessions")) {
            Sessions.Shown shown = spoken(session, engine());
            List<Scoring.Step> steps = Scoring.alignedWords(session.text("text"), shown.partial.text());
            int end = steps.size();
            // What was said after the last window isn't heard yet, and its last word may be cut in two.
            while (end > 0 && steps.get(end - 1).hypothesis == null) {
                end--;
            }
            end -= end > 0 && !steps.get(end - 1).same() ? 1 : 0;
            assertTrue(session.text("text") + " / " + shown.partial.text(), end >= steps.size() - 3);
            for (Scoring.Step step : steps.subList(0, end)) {
                words++;
                errors += step.same() ? 0 : 1;
            }
        }
        System.out.printf("partial text: %d of %d words aren't those of the final text%n", errors, words);
        assertTrue(errors + " of " + words, errors <= 0.05 * words);
    }

    @Test
    public void longRecordingsAreDecodedPieceByPieceWhileSpeaking() throws IOException {
        for (Fields session : Golden.list("sessions")) {
            if (session.list("clips").size() == 1) {
                continue;
            }
            ReplayEngine engine = engine();
            float[] waveform = Sessions.joined(Golden.clips(), session.list("clips"));
            Recognizer recognizer = Golden.recognizer(engine, session.integer("max_samples"));
            LiveSession live = new LiveSession(recognizer, Sessions.WINDOW, Sessions.HOP);
            for (int at = 0; at < waveform.length; at += Sessions.CHUNK) {
                live.append(Arrays.copyOfRange(waveform, at, Math.min(at + Sessions.CHUNK, waveform.length)));
            }
            int whileSpeaking = engine.requests;
            live.finish();
            assertTrue("left to the end: " + (engine.requests - whileSpeaking), engine.requests - whileSpeaking <= 2);
            assertTrue(whileSpeaking >= 2);
        }
    }

    @Test
    public void aSampleTooFewOrTooManyIsNoticed() throws IOException {
        Fields session = Golden.list("sessions").get(0);
        float[] waveform = Sessions.joined(Golden.clips(), session.list("clips"));
        Recognizer recognizer = Golden.recognizer(engine(), session.integer("max_samples"));
        float[] late = Arrays.copyOfRange(waveform, 1, waveform.length + 1);
        assertThrows(AssertionError.class, () -> recognizer.transcribe(late));
        float[] early = Arrays.copyOf(waveform, waveform.length - 1);
        assertThrows(AssertionError.class, () -> recognizer.transcribe(early));
    }

    @Test
    public void aRecordingWithoutAnySampleHasNoText() {
        Recognizer recognizer = Golden.recognizer(engine(), 480_000);
        assertEquals("", new LiveSession(recognizer, Sessions.WINDOW, Sessions.HOP).finish().text());
    }

    @Test
    public void windowsThatDontOverlapAreRefused() {
        Recognizer recognizer = Golden.recognizer(engine(), 480_000);
        assertThrows(UserError.class, () -> new LiveSession(recognizer, 1600, 1600));
        assertThrows(UserError.class, () -> new LiveSession(recognizer, 1600, 0));
    }

    @Test
    public void modelsWithoutABlankHaveOnlyFinalText() {
        Tokens labels = new Tokens(Arrays.asList("yes", "no"), null, null, false, false);
        Recognizer recognizer = new Recognizer(new Constant(), labels,
                new Manifest.Input(Golden.FILE.object("input")), 16_000, 16_000);
        LiveSession session = new LiveSession(recognizer, Sessions.WINDOW, Sessions.HOP);
        session.append(new float[16_000]);
        assertEquals(false, session.partialDue());
        assertEquals("", session.partial().text());
        assertEquals("no", session.finish().text());
    }

    private ReplayEngine engine() {
        return new ReplayEngine(recorded, Golden.tokens().symbols.size());
    }

    private Sessions.Shown spoken(Fields session, ReplayEngine engine) throws IOException {
        float[] waveform = Sessions.joined(Golden.clips(), session.list("clips"));
        return Sessions.spoken(Golden.recognizer(engine, session.integer("max_samples")), waveform);
    }

    private static final class Constant implements Engine {
        @Override
        public Logits logits(float[] features) {
            return Logits.ofRows(Collections.singletonList(new float[] {0, 1}));
        }

        @Override
        public String description() {
            return "constant";
        }

        @Override
        public int threads() {
            return 1;
        }

        @Override
        public void close() {}
    }
}
