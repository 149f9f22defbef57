package org.myqasr.core;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import org.myqasr.core.files.Fields;
import org.myqasr.core.files.Json;
import org.myqasr.core.files.Manifest;
import org.myqasr.core.text.Logits;
import org.myqasr.core.text.Tokens;

/** The golden file that Python and the JVM share; tools/golden/make_golden_vectors.py says what is in it. */
final class Golden {
    static final Fields FILE = file();

    private Golden() {}

    static Tokens tokens() {
        return Tokens.of(FILE.object("tokens"));
    }

    static Recognizer recognizer(Engine engine, int maxSamples) {
        return new Recognizer(engine, tokens(), new Manifest.Input(FILE.object("input")),
                FILE.integer("min_samples"), maxSamples);
    }

    static List<Fields> list(String name) {
        List<Fields> found = new ArrayList<>();
        for (Object entry : FILE.list(name)) {
            found.add(Fields.of(name + "[" + found.size() + "]", entry));
        }
        return found;
    }

    static double[] numbers(List<?> values) {
        return values.stream().mapToDouble(value -> ((Number) value).doubleValue()).toArray();
    }

    /** Logits of a clip, stored as int16 in steps of 1/256. */
    static Logits logits(Fields clip) {
        ByteBuffer bytes = ByteBuffer.wrap(Base64.getDecoder().decode(clip.text("logits")))
                .order(ByteOrder.LITTLE_ENDIAN);
        float[] values = new float[bytes.capacity() / 2];
        for (int i = 0; i < values.length; i++) {
            values[i] = bytes.getShort(2 * i) / 256f;
        }
        int vocab = tokens().symbols.size();
        return new Logits(values.length / vocab, vocab, values);
    }

    /** Folder of the clips as WAV files, which `make android-test` writes. */
    static Path clips() {
        return Paths.get(System.getProperty("myqasr.clips"));
    }

    private static Fields file() {
        try {
            Path path = Paths.get(System.getProperty("myqasr.golden"));
            return Fields.of("", Json.parse(new String(Files.readAllBytes(path), StandardCharsets.UTF_8)));
        } catch (IOException error) {
            throw new IllegalStateException(error);
        }
    }
}
