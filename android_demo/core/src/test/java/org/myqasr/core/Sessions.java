package org.myqasr.core;

import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import org.myqasr.core.audio.Wav;
import org.myqasr.core.audio.Waveforms;
import org.myqasr.core.text.Transcript;

/** What somebody who speaks into the phone does: audio comes in pieces of 100 ms, then the button is let go. */
final class Sessions {
    static final int CHUNK = Waveforms.SAMPLE_RATE / 10;
    static final int WINDOW = 3 * Waveforms.SAMPLE_RATE;
    static final int HOP = Waveforms.SAMPLE_RATE / 2;

    /** What was shown: the last partial text and the final one. */
    static final class Shown {
        final Transcript partial;
        final Transcript last;
        final int partials;

        Shown(Transcript partial, Transcript last, int partials) {
            this.partial = partial;
            this.last = last;
            this.partials = partials;
        }
    }

    private Sessions() {}

    static Shown spoken(Recognizer recognizer, float[] waveform) {
        LiveSession session = new LiveSession(recognizer, WINDOW, HOP);
        int partials = 0;
        for (int at = 0; at < waveform.length; at += CHUNK) {
            session.append(Arrays.copyOfRange(waveform, at, Math.min(at + CHUNK, waveform.length)));
            if (session.partialDue()) {
                session.partial();
                partials++;
            }
        }
        return new Shown(session.partial(), session.finish(), partials);
    }

    /** The joined waveforms of WAV files. */
    static float[] joined(Path folder, List<?> names) throws IOException {
        float[] all = new float[0];
        for (Object name : names) {
            try (InputStream in = Files.newInputStream(folder.resolve((String) name))) {
                float[] samples = Wav.read(in).samples;
                int start = all.length;
                all = Arrays.copyOf(all, start + samples.length);
                System.arraycopy(samples, 0, all, start, samples.length);
            }
        }
        return all;
    }
}
