package org.myqasr.core;

import java.io.BufferedOutputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import org.myqasr.core.files.Fields;
import org.myqasr.core.files.Json;
import org.myqasr.core.files.Manifest;
import org.myqasr.core.text.Logits;
import org.myqasr.core.text.Tokens;

/**
 * Writes down what the engine is asked during simulated sessions, for tools/golden/make_golden_vectors.py, which runs the
 * real model on exactly these features. Arguments: folder of WAV files, sessions as JSON, output file.
 *
 * <p>Output, big-endian: per request the number of samples (int32) and the samples (float32).
 */
public final class RecordRequests {
    private RecordRequests() {}

    public static void main(String[] arguments) throws IOException {
        Path clips = Paths.get(arguments[0]);
        String text = new String(Files.readAllBytes(Paths.get(arguments[1])), StandardCharsets.UTF_8);
        Fields plan = Fields.of("sessions", Json.parse(text));
        Tokens tokens = Tokens.of(plan.object("tokens"));
        Manifest.Input input = new Manifest.Input(plan.object("input"));
        int min = plan.integer("min_samples");
        try (DataOutputStream out = new DataOutputStream(
                new BufferedOutputStream(Files.newOutputStream(Paths.get(arguments[2]))))) {
            for (Object entry : plan.list("sessions")) {
                Fields session = Fields.of("session", entry);
                Engine engine = new Recording(out, tokens.symbols.size(), min, input.strideSamples);
                Recognizer recognizer =
                        new Recognizer(engine, tokens, input, min, session.integer("max_samples"));
                Sessions.spoken(recognizer, Sessions.joined(clips, session.list("clips")));
            }
        }
    }

    /** Says nothing of interest: which windows are asked for doesn't depend on what is heard in them. */
    private static final class Recording implements Engine {
        private final DataOutputStream out;
        private final int vocab;
        private final int min;
        private final int stride;

        Recording(DataOutputStream out, int vocab, int min, int stride) {
            this.out = out;
            this.vocab = vocab;
            this.min = min;
            this.stride = stride;
        }

        @Override
        public Logits logits(float[] features) {
            try {
                out.writeInt(features.length);
                for (float value : features) {
                    out.writeFloat(value);
                }
            } catch (IOException error) {
                throw new IllegalStateException(error);
            }
            int frames = (features.length - min) / stride + 1;
            return new Logits(frames, vocab, new float[frames * vocab]);
        }

        @Override
        public String description() {
            return "recording";
        }

        @Override
        public int threads() {
            return 1;
        }

        @Override
        public void close() {}
    }
}
