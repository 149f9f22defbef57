package org.myqasr.core;

import static org.junit.Assert.assertArrayEquals;
import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertThrows;
import static org.junit.Assert.assertTrue;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.File;
import java.io.IOException;
import java.util.Arrays;
import java.util.zip.ZipEntry;
import java.util.zip.ZipInputStream;
import org.junit.Rule;
import org.junit.Test;
import org.junit.rules.TemporaryFolder;
import org.myqasr.core.audio.Recordings;
import org.myqasr.core.audio.Wav;

public class RecordingsTest {
    @Rule public final TemporaryFolder folder = new TemporaryFolder();

    private static float[] loud(int samples) {
        float[] waveform = new float[samples];
        Arrays.fill(waveform, 0.25f);
        return waveform;
    }

    @Test
    public void theZipHoldsEveryRecordingAsWav() throws IOException {
        Recordings recordings = new Recordings(new File(folder.getRoot(), "me"));
        recordings.add(loud(8_000));
        recordings.add(loud(9_000));
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        recordings.writeZip(bytes);
        try (ZipInputStream zip = new ZipInputStream(new ByteArrayInputStream(bytes.toByteArray()))) {
            for (int i = 1; i <= 2; i++) {
                ZipEntry entry = zip.getNextEntry();
                assertEquals("recordings/recording-000" + i + ".wav", entry.getName());
                assertArrayEquals(loud(7_000 + 1_000 * i), Wav.read(zip).samples, 0);
            }
            assertEquals(null, zip.getNextEntry());
        }
    }

    @Test
    public void uselessRecordingsAreRefusedAndNothingIsKept() {
        Recordings recordings = new Recordings(folder.getRoot());
        assertThrows(UserError.class, () -> recordings.add(loud(7_999)));
        assertThrows(UserError.class, () -> recordings.add(new float[16_000]));
        assertThrows(UserError.class, () -> recordings.writeZip(new ByteArrayOutputStream()));
        assertTrue(recordings.list().isEmpty());
    }

    @Test
    public void numbersGoOnAfterARecordingIsDeleted() throws IOException {
        Recordings recordings = new Recordings(folder.getRoot());
        File first = recordings.add(loud(8_000));
        recordings.add(loud(8_000));
        assertTrue(first.delete());
        assertEquals("recording-0003.wav", recordings.add(loud(8_000)).getName());
    }
}
