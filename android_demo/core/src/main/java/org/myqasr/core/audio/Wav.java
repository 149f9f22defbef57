package org.myqasr.core.audio;

import java.io.DataInputStream;
import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import org.myqasr.core.UserError;

/** RIFF WAVE: any PCM or float in, 16-bit mono PCM out. */
public final class Wav {
    private static final int PCM = 1;
    private static final int FLOAT = 3;
    private static final int EXTENSIBLE = 0xFFFE;
    private static final long MAX_BYTES = 512L << 20;

    public final int rate;
    /** Channels averaged, in -1..1. */
    public final float[] samples;

    private Wav(int rate, float[] samples) {
        this.rate = rate;
        this.samples = samples;
    }

    /** A whole file; UserError says why it can't be used. A data chunk that was never completed is read to its end. */
    public static Wav read(InputStream in) throws IOException {
        DataInputStream data = new DataInputStream(in);
        try {
            if (!"RIFF".equals(tag(data)) || skipped(data, 4) != 4 || !"WAVE".equals(tag(data))) {
                throw new UserError("not a WAV file");
            }
            ByteBuffer format = null;
            while (true) {
                String tag = tag(data);
                long size = Integer.reverseBytes(data.readInt()) & 0xFFFFFFFFL;
                if ("data".equals(tag)) {
                    return decoded(format, bytes(data, size));
                } else if ("fmt ".equals(tag) && size >= 16 && size < 1024) {
                    byte[] body = new byte[(int) size];
                    data.readFully(body);
                    format = ByteBuffer.wrap(body).order(ByteOrder.LITTLE_ENDIAN);
                    skipped(data, size & 1);
                } else {
                    skipped(data, size + (size & 1));
                }
            }
        } catch (EOFException error) {
            throw new UserError("the WAV file ends before its sound", error);
        }
    }

    /** Header of a mono 16-bit file of so many samples. */
    public static byte[] header(int rate, int samples) {
        ByteBuffer out = ByteBuffer.allocate(44).order(ByteOrder.LITTLE_ENDIAN);
        out.put(ascii("RIFF")).putInt(36 + 2 * samples).put(ascii("WAVEfmt ")).putInt(16);
        out.putShort((short) PCM).putShort((short) 1).putInt(rate).putInt(2 * rate);
        out.putShort((short) 2).putShort((short) 16).put(ascii("data")).putInt(2 * samples);
        return out.array();
    }

    /** Write mono 16-bit PCM; what is louder than full scale is clipped. */
    public static void write(OutputStream out, int rate, float[] samples) throws IOException {
        ByteBuffer body = ByteBuffer.allocate(2 * samples.length).order(ByteOrder.LITTLE_ENDIAN);
        for (float sample : samples) {
            body.putShort((short) Math.max(-32768, Math.min(32767, Math.round(sample * 32768.0))));
        }
        out.write(header(rate, samples.length));
        out.write(body.array());
    }

    private static Wav decoded(ByteBuffer format, byte[] body) {
        if (format == null) {
            throw new UserError("the WAV file has no format chunk before its sound");
        }
        int kind = format.getShort(0) & 0xFFFF;
        if (kind == EXTENSIBLE && format.capacity() >= 26) {
            kind = format.getShort(24) & 0xFFFF; // first two bytes of the sub-format's GUID
        }
        int channels = format.getShort(2);
        int rate = format.getInt(4);
        int bits = format.getShort(14);
        boolean known = (kind == PCM && (bits == 8 || bits == 16 || bits == 24 || bits == 32))
                || (kind == FLOAT && (bits == 32 || bits == 64));
        if (!known || channels < 1 || rate < 1) {
            throw new UserError("WAV of format " + kind + " with " + bits + " bits, " + channels + " channels at "
                    + rate + " Hz can't be read; save it as 16-bit PCM");
        }
        int width = bits / 8;
        float[] samples = new float[body.length / (width * channels)];
        ByteBuffer in = ByteBuffer.wrap(body).order(ByteOrder.LITTLE_ENDIAN);
        for (int i = 0; i < samples.length; i++) {
            double sum = 0;
            for (int channel = 0; channel < channels; channel++) {
                sum += sample(in, (i * channels + channel) * width, kind, bits);
            }
            samples[i] = (float) (sum / channels);
            if (Float.isNaN(samples[i]) || Float.isInfinite(samples[i])) {
                throw new UserError("the WAV file holds NaN or infinite samples; record or convert it again");
            }
        }
        return new Wav(rate, samples);
    }

    private static double sample(ByteBuffer in, int at, int kind, int bits) {
        if (kind == FLOAT) {
            return bits == 32 ? in.getFloat(at) : in.getDouble(at);
        }
        switch (bits) {
            case 8:
                return ((in.get(at) & 0xFF) - 128) / 128.0;
            case 16:
                return in.getShort(at) / 32768.0;
            case 24:
                return ((in.get(at) & 0xFF) | (in.getShort(at + 1) << 8)) / 8388608.0;
            default:
                return in.getInt(at) / 2147483648.0;
        }
    }

    private static byte[] bytes(InputStream in, long size) throws IOException {
        java.io.ByteArrayOutputStream out = new java.io.ByteArrayOutputStream();
        byte[] buffer = new byte[1 << 16];
        long left = size;
        while (left > 0) {
            int count = in.read(buffer, 0, (int) Math.min(buffer.length, left));
            if (count < 0) {
                break;
            }
            out.write(buffer, 0, count);
            left -= count;
            if (out.size() > MAX_BYTES) {
                throw new UserError("the WAV file holds more than " + (MAX_BYTES >> 20) + " MB of sound; cut it");
            }
        }
        return out.toByteArray();
    }

    private static String tag(DataInputStream in) throws IOException {
        byte[] letters = new byte[4];
        in.readFully(letters);
        return new String(letters, java.nio.charset.Charset.forName("ISO-8859-1"));
    }

    private static long skipped(DataInputStream in, long count) throws IOException {
        for (long i = 0; i < count; i++) {
            in.readByte();
        }
        return count;
    }

    private static byte[] ascii(String text) {
        return text.getBytes(java.nio.charset.Charset.forName("US-ASCII"));
    }
}
