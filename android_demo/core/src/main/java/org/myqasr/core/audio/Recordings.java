package org.myqasr.core.audio;

import java.io.File;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.zip.ZipEntry;
import java.util.zip.ZipOutputStream;
import org.myqasr.core.UserError;

/** Recordings for {@code myqasr personalize}: numbered WAV files without any text, and the zip of them. */
public final class Recordings {
    private static final double MIN_SECONDS = 0.5;

    private final File folder;

    public Recordings(File folder) {
        this.folder = folder;
    }

    public List<File> list() {
        List<File> found = new ArrayList<>();
        File[] files = folder.listFiles();
        if (files != null) {
            Arrays.sort(files);
            for (File file : files) {
                if (file.getName().endsWith(".wav")) {
                    found.add(file);
                }
            }
        }
        return found;
    }

    /** Keep a recording, whole or not at all; UserError for one too short or silent to be of use. */
    public File add(float[] waveform) throws IOException {
        if (Waveforms.seconds(waveform) < MIN_SECONDS) {
            throw new UserError(String.format(Locale.ROOT, "%.1f s is too short; hold the button while you speak",
                    Waveforms.seconds(waveform)));
        }
        if (Waveforms.peak(waveform) < Waveforms.SILENT_PEAK) {
            throw new UserError("the recording is silent; check the microphone");
        }
        List<File> files = list();
        int next = files.isEmpty() ? 1 : number(files.get(files.size() - 1)) + 1;
        File file = new File(folder, String.format(Locale.ROOT, "recording-%04d.wav", next));
        File part = new File(folder, file.getName() + ".part");
        if (!folder.isDirectory() && !folder.mkdirs()) {
            throw new IOException("can't write " + folder);
        }
        try (OutputStream out = new FileOutputStream(part)) {
            Wav.write(out, Waveforms.SAMPLE_RATE, waveform);
        }
        if (!part.renameTo(file)) {
            throw new IOException("can't write " + file);
        }
        return file;
    }

    /** All recordings as one zip, which {@code myqasr personalize MODEL recordings.zip} takes. */
    public void writeZip(OutputStream out) throws IOException {
        List<File> files = list();
        if (files.isEmpty()) {
            throw new UserError("nothing is recorded yet");
        }
        byte[] buffer = new byte[1 << 16];
        ZipOutputStream zip = new ZipOutputStream(out);
        for (File file : files) {
            zip.putNextEntry(new ZipEntry("recordings/" + file.getName()));
            try (InputStream in = new FileInputStream(file)) {
                for (int count = in.read(buffer); count >= 0; count = in.read(buffer)) {
                    zip.write(buffer, 0, count);
                }
            }
            zip.closeEntry();
        }
        zip.finish();
    }

    private static int number(File file) {
        String digits = file.getName().replaceAll("[^0-9]", "");
        return digits.isEmpty() ? 0 : Integer.parseInt(digits);
    }
}
