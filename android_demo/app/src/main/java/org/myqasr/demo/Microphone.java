package org.myqasr.demo;

import android.media.AudioFormat;
import android.media.AudioRecord;
import android.media.MediaRecorder;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import org.myqasr.core.UserError;
import org.myqasr.core.audio.Waveforms;

/**
 * 16 kHz from the microphone, in pieces of 100 ms on a queue that never drops any. The piece of length 0 is the last:
 * it comes some time after {@link #stop}, since people let go of the button while they still speak.
 */
final class Microphone {
    private static final int PIECE = Waveforms.SAMPLE_RATE / 10;
    private static final int TAIL_PIECES = 3;
    private static final int BUFFER_SECONDS = 4; // that the system keeps for us while this thread has to wait

    /** Told when sound is really coming in, which is a moment after the button goes down. */
    interface Listening {
        void started();
    }

    private final BlockingQueue<float[]> pieces = new LinkedBlockingQueue<>();
    private final AudioRecord record;
    private volatile boolean stopping;

    private Microphone(AudioRecord record) {
        this.record = record;
    }

    /** Start to record; the app has the permission already. */
    static Microphone start(Listening listening) {
        int least = AudioRecord.getMinBufferSize(
                Waveforms.SAMPLE_RATE, AudioFormat.CHANNEL_IN_MONO, AudioFormat.ENCODING_PCM_16BIT);
        int bytes = Math.max(least, 2 * BUFFER_SECONDS * Waveforms.SAMPLE_RATE);
        AudioRecord record;
        try {
            record = new AudioRecord(MediaRecorder.AudioSource.VOICE_RECOGNITION, Waveforms.SAMPLE_RATE,
                    AudioFormat.CHANNEL_IN_MONO, AudioFormat.ENCODING_PCM_16BIT, bytes);
        } catch (IllegalArgumentException | SecurityException error) {
            throw new UserError("the microphone can't be used: " + error.getMessage(), error);
        }
        if (record.getState() != AudioRecord.STATE_INITIALIZED) {
            record.release();
            throw new UserError("the microphone can't be used; does another app record?");
        }
        Microphone microphone = new Microphone(record);
        record.startRecording();
        new Thread(() -> microphone.read(listening), "microphone").start();
        return microphone;
    }

    /** The next piece; waits for it. */
    float[] next() throws InterruptedException {
        return pieces.take();
    }

    /** The next piece if there is one already, else null. */
    float[] waiting() {
        return pieces.poll();
    }

    void stop() {
        stopping = true;
    }

    /** Pieces one after the other. */
    static float[] joined(List<float[]> pieces) {
        int count = 0;
        for (float[] piece : pieces) {
            count += piece.length;
        }
        float[] all = new float[count];
        int place = 0;
        for (float[] piece : pieces) {
            System.arraycopy(piece, 0, all, place, piece.length);
            place += piece.length;
        }
        return all;
    }

    private void read(Listening listening) {
        short[] buffer = new short[PIECE];
        boolean first = true;
        int tail = 0;
        try {
            while (tail < TAIL_PIECES) {
                int count = record.read(buffer, 0, PIECE);
                if (count <= 0) {
                    break; // the device went away; what was heard is kept
                }
                if (first) {
                    first = false;
                    listening.started();
                }
                pieces.add(Waveforms.fromShorts(buffer, count));
                tail += stopping ? 1 : 0;
            }
        } finally {
            record.release();
            pieces.add(new float[0]);
        }
    }
}
