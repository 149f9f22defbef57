package org.myqasr.demo;

import android.content.Context;
import android.media.AudioFormat;
import android.media.MediaCodec;
import android.media.MediaExtractor;
import android.media.MediaFormat;
import android.net.Uri;
import java.io.BufferedInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Arrays;
import org.myqasr.core.UserError;
import org.myqasr.core.audio.Resampler;
import org.myqasr.core.audio.Wav;

/** Audio files to 16 kHz waveforms: WAV by core's reader, other kinds by the phone's own decoders. */
final class AudioFiles {
    private static final int MAX_SECONDS = 600;
    private static final long TIMEOUT_US = 10_000;

    private AudioFiles() {}

    static float[] read(Context context, Uri uri) throws IOException {
        byte[] start = new byte[4];
        try (InputStream in = open(context, uri)) {
            if (in.read(start) == 4 && Arrays.equals(start, new byte[] {'R', 'I', 'F', 'F'})) {
                try (InputStream whole = new BufferedInputStream(open(context, uri))) {
                    Wav wav = Wav.read(whole);
                    return Resampler.to16k(wav.samples, wav.rate);
                }
            }
        }
        MediaExtractor extractor = new MediaExtractor();
        try {
            extractor.setDataSource(context, uri, null);
            return decoded(extractor);
        } finally {
            extractor.release();
        }
    }

    static float[] readAsset(Context context, String name) throws IOException {
        try (InputStream in = new BufferedInputStream(context.getAssets().open(name))) {
            Wav wav = Wav.read(in);
            return Resampler.to16k(wav.samples, wav.rate);
        }
    }

    static float[] readFile(java.io.File file, Context context) throws IOException {
        return read(context, Uri.fromFile(file));
    }

    private static InputStream open(Context context, Uri uri) throws IOException {
        InputStream in = context.getContentResolver().openInputStream(uri);
        if (in == null) {
            throw new UserError("the file can't be opened");
        }
        return in;
    }

    private static float[] decoded(MediaExtractor extractor) throws IOException {
        for (int track = 0; track < extractor.getTrackCount(); track++) {
            MediaFormat format = extractor.getTrackFormat(track);
            String kind = format.getString(MediaFormat.KEY_MIME);
            if (kind != null && kind.startsWith("audio/")) {
                extractor.selectTrack(track);
                MediaCodec codec = MediaCodec.createDecoderByType(kind);
                try {
                    codec.configure(format, null, null, 0);
                    codec.start();
                    return decoded(extractor, codec, format);
                } finally {
                    codec.release();
                }
            }
        }
        throw new UserError("there is no sound in the file");
    }

    private static float[] decoded(MediaExtractor extractor, MediaCodec codec, MediaFormat input) {
        Mono mono = new Mono(input);
        MediaCodec.BufferInfo info = new MediaCodec.BufferInfo();
        boolean fed = false;
        while (true) {
            int in = fed ? -1 : codec.dequeueInputBuffer(TIMEOUT_US);
            if (in >= 0) {
                int size = extractor.readSampleData(codec.getInputBuffer(in), 0);
                fed = size < 0;
                int flags = fed ? MediaCodec.BUFFER_FLAG_END_OF_STREAM : 0;
                codec.queueInputBuffer(in, 0, Math.max(size, 0), Math.max(extractor.getSampleTime(), 0), flags);
                extractor.advance();
            }
            int out = codec.dequeueOutputBuffer(info, TIMEOUT_US);
            if (out == MediaCodec.INFO_OUTPUT_FORMAT_CHANGED) {
                mono.follow(codec.getOutputFormat());
            } else if (out >= 0) {
                mono.add(codec.getOutputBuffer(out), info);
                codec.releaseOutputBuffer(out, false);
                if ((info.flags & MediaCodec.BUFFER_FLAG_END_OF_STREAM) != 0) {
                    return Resampler.to16k(mono.samples(), mono.rate);
                }
            }
        }
    }

    /** Decoded 16-bit or float PCM, its channels averaged. */
    private static final class Mono {
        private static final String ENCODING = "pcm-encoding"; // KEY_PCM_ENCODING, a constant since API 24

        int rate;
        private int channels;
        private boolean floats;
        private float[] values = new float[1 << 16];
        private int count;

        Mono(MediaFormat format) {
            follow(format);
        }

        void follow(MediaFormat format) {
            rate = format.getInteger(MediaFormat.KEY_SAMPLE_RATE);
            channels = format.getInteger(MediaFormat.KEY_CHANNEL_COUNT);
            floats = format.containsKey(ENCODING)
                    && format.getInteger(ENCODING) == AudioFormat.ENCODING_PCM_FLOAT;
        }

        void add(ByteBuffer buffer, MediaCodec.BufferInfo info) {
            ByteBuffer bytes = buffer.order(ByteOrder.nativeOrder());
            int width = floats ? 4 : 2;
            int end = info.offset + info.size;
            for (int at = info.offset; at + channels * width <= end; at += channels * width) {
                double sum = 0;
                for (int channel = 0; channel < channels; channel++) {
                    int place = at + channel * width;
                    sum += floats ? bytes.getFloat(place) : bytes.getShort(place) / 32768.0;
                }
                if (count == values.length) {
                    values = Arrays.copyOf(values, 2 * count);
                }
                values[count++] = (float) (sum / channels);
            }
            if (count > (long) MAX_SECONDS * rate) {
                throw new UserError("the file is longer than " + MAX_SECONDS / 60 + " minutes; cut it first");
            }
        }

        float[] samples() {
            return Arrays.copyOf(values, count);
        }
    }
}
