package org.myqasr.demo;

import android.content.Context;
import java.io.BufferedReader;
import java.io.File;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.nio.charset.Charset;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.myqasr.core.UserError;

/** Test clips: those in the app, or a folder that was pushed. */
final class Clips {
    /** Name of the clips that come with the app. */
    static final String BUNDLED = "bundled";

    private static final String FOLDER = "clips";

    /** A clip, its 16 kHz waveform and what is said in it (null when nobody wrote it down). */
    static final class Clip {
        final String name;
        final String text;
        final float[] waveform;

        Clip(String name, String text, float[] waveform) {
            this.name = name;
            this.text = text;
            this.waveform = waveform;
        }
    }

    private Clips() {}

    /** Names of the bundled clips' files, with their texts, from the manifest.csv that Python reads, too. */
    static List<String[]> bundled(Context context) throws IOException {
        List<String[]> found = new ArrayList<>();
        for (String line : lines(context.getAssets().open(FOLDER + "/manifest.csv"))) {
            found.add(line.split(",", 2));
        }
        found.remove(0); // the header
        return found;
    }

    static Clip read(Context context, String[] entry) throws IOException {
        return new Clip(entry[0], entry[1], AudioFiles.readAsset(context, FOLDER + "/" + entry[0]));
    }

    /** All bundled clips, or those of a folder in {@link Places#clips}. */
    static List<Clip> all(Context context, String source) throws IOException {
        List<Clip> found = new ArrayList<>();
        if (BUNDLED.equals(source)) {
            for (String[] entry : bundled(context)) {
                found.add(read(context, entry));
            }
            return found;
        }
        File folder = Places.inside(Places.clips(context), source);
        File[] files = folder.listFiles();
        if (files == null) {
            throw new UserError(folder + " does not exist; push a folder of clips there");
        }
        Arrays.sort(files);
        for (File file : files) {
            String name = file.getName();
            int dot = name.lastIndexOf('.');
            if (dot <= 0 || name.endsWith(".txt")) {
                continue;
            }
            File beside = new File(folder, name.substring(0, dot) + ".txt");
            String text = beside.isFile() ? join(lines(new FileInputStream(beside))) : null;
            found.add(new Clip(name, text, AudioFiles.readFile(file, context)));
        }
        if (found.isEmpty()) {
            throw new UserError(folder + " holds no audio files");
        }
        return found;
    }

    private static String join(List<String> lines) {
        StringBuilder text = new StringBuilder();
        for (String line : lines) {
            text.append(text.length() > 0 ? " " : "").append(line.trim());
        }
        return text.toString();
    }

    private static List<String> lines(InputStream in) throws IOException {
        List<String> found = new ArrayList<>();
        try (BufferedReader reader = new BufferedReader(new InputStreamReader(in, Charset.forName("UTF-8")))) {
            for (String line = reader.readLine(); line != null; line = reader.readLine()) {
                if (!line.isEmpty()) {
                    found.add(line);
                }
            }
        }
        return found;
    }
}
