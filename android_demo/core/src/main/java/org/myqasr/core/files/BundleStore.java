package org.myqasr.core.files;

import java.io.ByteArrayOutputStream;
import java.io.File;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.charset.Charset;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.zip.ZipEntry;
import java.util.zip.ZipInputStream;
import org.myqasr.core.UserError;

/** Bundles kept on the phone: one folder each, with manifest.json and the files that it lists and that were given. */
public final class BundleStore {
    private static final long MAX_MANIFEST_BYTES = 8L << 20;

    /** A kept file and what is known of it. */
    public static final class Kept {
        public final File file;
        public final Manifest manifest;
        public final Manifest.Artifact artifact;

        Kept(File file, Manifest manifest, Manifest.Artifact artifact) {
            this.file = file;
            this.manifest = manifest;
            this.artifact = artifact;
        }

        /** E.g. {@code alice/alice.pte}. */
        public String name() {
            return file.getParentFile().getName() + "/" + file.getName();
        }
    }

    /** Files to import, as a file picker gives them; a zip counts as the files in it. */
    public interface Source {
        String name();

        InputStream open() throws IOException;
    }

    private final File root;

    public BundleStore(File root) {
        this.root = root;
    }

    /** All kept files of intact manifests, by name; what can't be read is told to `problems`. */
    public List<Kept> list(List<String> problems) {
        List<Kept> found = new ArrayList<>();
        File[] folders = root.listFiles();
        if (folders == null) {
            return found;
        }
        Arrays.sort(folders);
        for (File folder : folders) {
            if (folder.getName().startsWith(".") || !folder.isDirectory()) {
                continue;
            }
            try {
                Manifest manifest = Manifest.parse(text(new File(folder, Manifest.NAME)));
                for (Manifest.Artifact artifact : manifest.artifacts) {
                    File file = new File(folder, artifact.file);
                    if (file.isFile()) {
                        found.add(new Kept(file, manifest, artifact));
                    }
                }
            } catch (IOException | UserError error) {
                problems.add(folder.getName() + ": " + error.getMessage());
            }
        }
        return found;
    }

    /**
     * Copy a bundle in, under a name that is free. Nothing is kept unless the manifest is good and at least one
     * file that it lists is there, each with its sha256.
     */
    public List<Kept> add(String name, List<Source> sources) throws IOException {
        File incoming = new File(root, ".incoming");
        delete(incoming);
        if (!incoming.mkdirs()) {
            throw new IOException("can't write " + incoming);
        }
        try {
            for (Source source : sources) {
                copy(source, incoming);
            }
            Manifest manifest = checked(incoming);
            File folder = freeFolder(name);
            if (!incoming.renameTo(folder)) {
                throw new IOException("can't write " + folder);
            }
            List<Kept> kept = new ArrayList<>();
            for (Manifest.Artifact artifact : manifest.artifacts) {
                File file = new File(folder, artifact.file);
                if (file.isFile()) {
                    kept.add(new Kept(file, manifest, artifact));
                }
            }
            return kept;
        } finally {
            delete(incoming);
        }
    }

    /** Remove a file, and its folder when no other artifact is left in it. */
    public void remove(Kept kept) {
        File folder = kept.file.getParentFile();
        delete(kept.file);
        for (Manifest.Artifact artifact : kept.manifest.artifacts) {
            if (new File(folder, artifact.file).isFile()) {
                return;
            }
        }
        delete(folder);
    }

    /** The folder's manifest, after the hashes of the files that are there were found to be right. */
    private static Manifest checked(File folder) throws IOException {
        File manifestFile = new File(folder, Manifest.NAME);
        if (!manifestFile.isFile()) {
            throw new UserError("there is no " + Manifest.NAME + " among the files; choose it together with the model "
                    + "file, or choose a zip of the export folder");
        }
        Manifest manifest = Manifest.parse(text(manifestFile));
        int found = 0;
        StringBuilder wanted = new StringBuilder();
        for (Manifest.Artifact artifact : manifest.artifacts) {
            File file = new File(folder, artifact.file);
            wanted.append(wanted.length() > 0 ? ", " : "").append(artifact.file);
            if (file.isFile()) {
                Manifest.check(artifact, file);
                found++;
            }
        }
        if (found == 0) {
            throw new UserError(Manifest.NAME + " lists " + wanted + ", none of which was chosen; choose one together "
                    + "with it");
        }
        return manifest;
    }

    private static void copy(Source source, File folder) throws IOException {
        if (!source.name().toLowerCase(java.util.Locale.ROOT).endsWith(".zip")) {
            try (InputStream in = source.open()) {
                store(in, folder, source.name());
            }
            return;
        }
        try (ZipInputStream zip = new ZipInputStream(source.open())) {
            for (ZipEntry entry = zip.getNextEntry(); entry != null; entry = zip.getNextEntry()) {
                String path = entry.getName();
                String name = path.substring(path.lastIndexOf('/') + 1);
                if (!entry.isDirectory() && !name.isEmpty() && !name.startsWith(".")) {
                    store(zip, folder, name);
                }
            }
        }
    }

    private static void store(InputStream in, File folder, String name) throws IOException {
        if (name.contains("/") || name.contains("\\") || name.startsWith(".")) {
            throw new UserError("the file name '" + name + "' leads out of its folder");
        }
        byte[] buffer = new byte[1 << 16];
        try (OutputStream out = new FileOutputStream(new File(folder, name))) {
            for (int count = in.read(buffer); count >= 0; count = in.read(buffer)) {
                out.write(buffer, 0, count);
            }
        }
    }

    private File freeFolder(String name) {
        String plain = name.replaceAll("[^A-Za-z0-9_-]+", "-").replaceAll("^-+|-+$", "");
        String base = plain.isEmpty() ? "bundle" : plain;
        File folder = new File(root, base);
        for (int i = 2; folder.exists(); i++) {
            folder = new File(root, base + "-" + i);
        }
        return folder;
    }

    private static String text(File file) throws IOException {
        if (file.length() > MAX_MANIFEST_BYTES) {
            throw new UserError(file.getName() + " has " + file.length() + " bytes; no manifest is that large");
        }
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        byte[] buffer = new byte[1 << 16];
        try (InputStream in = new FileInputStream(file)) {
            for (int count = in.read(buffer); count >= 0; count = in.read(buffer)) {
                out.write(buffer, 0, count);
            }
        }
        return new String(out.toByteArray(), Charset.forName("UTF-8"));
    }

    private static void delete(File file) {
        File[] inside = file.listFiles();
        if (inside != null) {
            for (File entry : inside) {
                delete(entry);
            }
        }
        if (file.exists() && !file.delete()) {
            file.deleteOnExit();
        }
    }
}
