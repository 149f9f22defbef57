package org.myqasr.core;

import org.myqasr.core.audio.Samples;
import org.myqasr.core.audio.Segments;
import org.myqasr.core.text.Path;
import org.myqasr.core.text.Transcript;

/**
 * Text while somebody speaks, and the final text when they stop.
 *
 * <p>Partial text comes from a window over the last seconds: its best path replaces the end of what earlier
 * windows gave. Final text never comes from windows: the recording is decoded as a file would be. A piece of a
 * long recording is decoded as soon as no later sample can change where it ends, so that after the last word
 * at most one piece is left. Not for several threads at once.
 */
public final class LiveSession {
    private final Recognizer recognizer;
    private final int windowSamples;
    private final int hopSamples;

    private final Samples rest = new Samples(); // heard, not in a finished piece yet
    private Transcript finished = Transcript.NOTHING;
    private Path path = Path.EMPTY; // of the rest, by windows
    private int partialAt; // samples of the rest that the last window ended with

    /**
     * @param windowSamples how much audio a partial text looks at again
     * @param hopSamples new audio that makes a new partial text worth its while
     */
    public LiveSession(Recognizer recognizer, int windowSamples, int hopSamples) {
        if (windowSamples < 2 * hopSamples || hopSamples < 1) {
            throw new UserError("windows of " + windowSamples + " samples every " + hopSamples
                    + " would not overlap by half");
        }
        this.recognizer = recognizer;
        this.windowSamples = Math.min(windowSamples, recognizer.maxSamples);
        this.hopSamples = hopSamples;
    }

    /** Take what was recorded since the last call; decodes pieces that are complete. */
    public void append(float[] samples) {
        rest.append(samples);
        int shortest = recognizer.shortestPiece();
        // From here on split() would cut at the same place however much follows.
        while (rest.size() >= recognizer.maxSamples + shortest) {
            int cut = Segments.cut(
                    rest.range(0, recognizer.maxSamples), rest.size(), recognizer.maxSamples, shortest);
            finished = finished.and(recognizer.transcribe(rest.range(0, cut)));
            rest.drop(cut);
            path = Path.EMPTY;
            partialAt = 0;
        }
    }

    /** Whether enough was said since the last partial text. Only CTC models have any. */
    public boolean partialDue() {
        return recognizer.tokens.blank != null
                && rest.size() >= recognizer.minSamples
                && rest.size() - partialAt >= hopSamples;
    }

    /** Text so far: one run of the model on the last window, if it is due. */
    public Transcript partial() {
        if (partialDue()) {
            int stride = recognizer.strideSamples;
            int first = Math.max(rest.size() - windowSamples, 0) / stride; // whole frames
            float[] window = rest.range(first * stride, rest.size());
            Path newest = Path.of(recognizer.run(recognizer.features(window)));
            path = first == 0 ? newest : path.joined(newest, first, recognizer.tokens.blank);
            partialAt = rest.size();
        }
        return recognizer.tokens.blank == null
                ? finished
                : finished.and(new Transcript(path.ctcWords(recognizer.tokens), path.tokens));
    }

    /** The final text: the same as of the whole recording at once. */
    public Transcript finish() {
        if (rest.size() == 0) {
            return finished;
        }
        return finished.and(recognizer.transcribe(rest.range(0, rest.size())));
    }
}
