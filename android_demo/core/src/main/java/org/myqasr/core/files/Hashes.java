package org.myqasr.core.files;

import java.io.File;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.Charset;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;

/** sha256 of files and of audio. */
public final class Hashes {
    private Hashes() {}

    /** Hex digest of a file's bytes. */
    public static String ofFile(File file) throws IOException {
        MessageDigest digest = sha256();
        byte[] buffer = new byte[1 << 16];
        try (InputStream in = new FileInputStream(file)) {
            for (int count = in.read(buffer); count >= 0; count = in.read(buffer)) {
                digest.update(buffer, 0, count);
            }
        }
        return hex(digest.digest());
    }

    /**
     * Hex digest over waveforms, whatever their order: of the sorted digests of their samples as
     * little-endian float32 ({@code audio_hash} in speech/datasets.py).
     */
    public static String ofWaveforms(List<float[]> waveforms) {
        List<byte[]> digests = new ArrayList<>();
        for (float[] waveform : waveforms) {
            ByteBuffer bytes = ByteBuffer.allocate(4 * waveform.length).order(ByteOrder.LITTLE_ENDIAN);
            bytes.asFloatBuffer().put(waveform);
            digests.add(sha256().digest(bytes.array()));
        }
        Collections.sort(digests, (one, other) -> hex(one).compareTo(hex(other)));
        MessageDigest all = sha256();
        for (byte[] digest : digests) {
            all.update(digest);
        }
        return hex(all.digest());
    }

    /** Hex digest of a text's UTF-8 bytes. */
    public static String ofText(String text) {
        return hex(sha256().digest(text.getBytes(Charset.forName("UTF-8"))));
    }

    public static MessageDigest sha256() {
        try {
            return MessageDigest.getInstance("SHA-256");
        } catch (NoSuchAlgorithmException error) {
            throw new IllegalStateException(error); // every Java has it
        }
    }

    public static String hex(byte[] bytes) {
        StringBuilder text = new StringBuilder();
        for (byte value : bytes) {
            text.append(Character.forDigit((value >> 4) & 15, 16)).append(Character.forDigit(value & 15, 16));
        }
        return text.toString();
    }
}
