package org.myqasr.core;

import static org.junit.Assert.assertArrayEquals;
import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertSame;
import static org.junit.Assert.assertThrows;
import static org.junit.Assert.assertTrue;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import org.junit.Test;
import org.myqasr.core.audio.Resampler;
import org.myqasr.core.audio.Segments;
import org.myqasr.core.audio.Wav;
import org.myqasr.core.audio.Waveforms;

public class AudioTest {
    @Test
    public void whatIsWrittenIsReadBack() throws IOException {
        float[] samples = {0f, 0.5f, -0.5f, -1f, 32767 / 32768f};
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        Wav.write(out, 16_000, samples);
        Wav back = Wav.read(new ByteArrayInputStream(out.toByteArray()));
        assertEquals(16_000, back.rate);
        assertArrayEquals(samples, back.samples, 0);
    }

    @Test
    public void loudSamplesAreClippedInsteadOfWrapped() throws IOException {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        Wav.write(out, 16_000, new float[] {1.5f, -1.5f});
        float[] back = Wav.read(new ByteArrayInputStream(out.toByteArray())).samples;
        assertArrayEquals(new float[] {32767 / 32768f, -1f}, back, 0);
    }

    @Test
    public void everySampleFormatIsRead() throws IOException {
        assertArrayEquals(new float[] {0.5f, -0.5f}, pcm(1, 8, (byte) 192, (byte) 64), 0);
        assertArrayEquals(new float[] {0.5f}, pcm(1, 24, (byte) 0, (byte) 0, (byte) 0x40), 0);
        assertArrayEquals(new float[] {-0.5f}, pcm(1, 24, (byte) 0, (byte) 0, (byte) 0xC0), 0);
        assertArrayEquals(new float[] {-0.5f}, pcm(1, 32, (byte) 0, (byte) 0, (byte) 0, (byte) 0xC0), 0);
        byte[] half = ByteBuffer.allocate(4).order(ByteOrder.LITTLE_ENDIAN).putFloat(0.5f).array();
        assertArrayEquals(new float[] {0.5f}, pcm(3, 32, half), 0);
    }

    @Test
    public void badFilesAreRefusedInWords() {
        assertRefused("not a WAV", "OggS----------------".getBytes());
        assertRefused("ends before", Arrays.copyOf(Wav.header(16_000, 9), 30));
        byte[] strange = Wav.header(16_000, 0);
        strange[20] = 85; // MP3 in WAV
        assertRefused("format 85", strange);
        byte[] nan = ByteBuffer.allocate(4).order(ByteOrder.LITTLE_ENDIAN).putFloat(Float.NaN).array();
        assertThrows(UserError.class, () -> pcm(3, 32, nan));
    }

    @Test
    public void aRecordingThatWasCutOffIsReadToItsEnd() throws IOException {
        byte[] header = Wav.header(16_000, 1000);
        byte[] file = Arrays.copyOf(header, header.length + 200);
        assertEquals(100, Wav.read(new ByteArrayInputStream(file)).samples.length);
    }

    @Test
    public void resamplingKeepsWhatIsBelowEightKilohertz() {
        for (int rate : new int[] {8_000, 11_025, 22_050, 32_000, 44_100, 48_000}) {
            double hertz = 0.4 * Math.min(rate, 16_000);
            float[] found = Resampler.to16k(sine(rate, hertz), rate);
            assertEquals(16_000, found.length);
            assertTrue(rate + " Hz: " + noiseDb(found, hertz), noiseDb(found, hertz) < -75);
        }
    }

    @Test
    public void resamplingRemovesWhatIsAboveEightKilohertz() {
        for (int rate : new int[] {32_000, 44_100, 48_000}) {
            float[] found = Resampler.to16k(sine(rate, 9_500), rate);
            double peak = Waveforms.peak(Arrays.copyOfRange(found, 1000, 15_000));
            assertTrue(rate + " Hz: " + peak, peak < 1e-3);
        }
    }

    @Test
    public void audioAtTheRightRateIsLeftAlone() {
        float[] samples = {1, 2, 3};
        assertSame(samples, Resampler.to16k(samples, 16_000));
        assertThrows(UserError.class, () -> Resampler.to16k(samples, 0));
    }

    @Test
    public void piecesJoinToTheWholeAndKeepTheirLimits() {
        Random random = new Random(4);
        for (int trial = 0; trial < 200; trial++) {
            int min = 1 + random.nextInt(300);
            int max = 2 * min + random.nextInt(3000);
            float[] waveform = new float[1 + random.nextInt(5 * max)];
            for (int i = 0; i < waveform.length; i++) {
                waveform[i] = random.nextInt(4) == 0 ? 0 : random.nextFloat();
            }
            List<float[]> pieces = Segments.split(waveform, max, min);
            int at = 0;
            for (float[] piece : pieces) {
                assertTrue(piece.length <= max && (pieces.size() == 1 || piece.length >= min));
                assertArrayEquals(Arrays.copyOfRange(waveform, at, at + piece.length), piece, 0);
                at += piece.length;
            }
            assertEquals(waveform.length, at);
        }
    }

    @Test
    public void aPauseIsWhereTheCutFalls() {
        float[] waveform = new float[16_000];
        Arrays.fill(waveform, 0.5f);
        Arrays.fill(waveform, 8_000, 8_320, 0f);
        assertEquals(8_160, Segments.split(waveform, 10_000, 400).get(0).length);
        assertThrows(UserError.class, () -> Segments.split(waveform, 10_000, 5_001));
    }

    @Test
    public void normalisedAudioHasMeanZeroAndVarianceOne() {
        float[] features = Waveforms.normalized(sine(16_000, 440));
        double sum = 0;
        double squares = 0;
        for (float value : features) {
            sum += value;
            squares += value * value;
        }
        assertEquals(0, sum / features.length, 1e-6);
        assertEquals(1, squares / features.length, 1e-4);
        assertArrayEquals(new float[10], Waveforms.normalized(new float[10]), 0);
    }

    private static float[] sine(int rate, double hertz) {
        float[] samples = new float[rate]; // one second
        for (int i = 0; i < rate; i++) {
            samples[i] = (float) (0.5 * Math.sin(2 * Math.PI * hertz * i / rate));
        }
        return samples;
    }

    /** Error against the same sine at 16 kHz, in dB of the sine; the ends are left out. */
    private static double noiseDb(float[] found, double hertz) {
        float[] expected = sine(16_000, hertz);
        double noise = 0;
        double signal = 0;
        for (int i = 1000; i < 15_000; i++) {
            noise += Math.pow(found[i] - expected[i], 2);
            signal += Math.pow(expected[i], 2);
        }
        return 10 * Math.log10(noise / signal);
    }

    private static float[] pcm(int kind, int bits, byte... body) throws IOException {
        ByteBuffer file = ByteBuffer.allocate(44 + body.length).order(ByteOrder.LITTLE_ENDIAN);
        file.put(Wav.header(16_000, 0)).put(body);
        file.putShort(20, (short) kind).putShort(34, (short) bits).putInt(40, body.length);
        return Wav.read(new ByteArrayInputStream(file.array())).samples;
    }

    private static void assertRefused(String reason, byte[] file) {
        UserError error = assertThrows(UserError.class, () -> Wav.read(new ByteArrayInputStream(file)));
        assertTrue(error.getMessage(), error.getMessage().contains(reason));
    }
}
