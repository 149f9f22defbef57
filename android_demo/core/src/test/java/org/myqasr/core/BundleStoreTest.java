package org.myqasr.core;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertThrows;
import static org.junit.Assert.assertTrue;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.zip.ZipEntry;
import java.util.zip.ZipOutputStream;
import org.junit.Before;
import org.junit.Rule;
import org.junit.Test;
import org.junit.rules.TemporaryFolder;
import org.myqasr.core.files.BundleStore;
import org.myqasr.core.files.Hashes;
import org.myqasr.core.files.Manifest;

public class BundleStoreTest {
    @Rule public final TemporaryFolder folder = new TemporaryFolder();

    private static final byte[] MODEL = "not really a model".getBytes(StandardCharsets.UTF_8);
    private BundleStore store;

    @Before
    public void open() {
        store = new BundleStore(new File(folder.getRoot(), "bundles"));
    }

    /** The manifest of a real export, as if its file were MODEL. */
    private static String manifest() throws IOException {
        String text = new String(
                Files.readAllBytes(Paths.get(System.getProperty("myqasr.resources"), Manifest.NAME)),
                StandardCharsets.UTF_8);
        Manifest.Artifact artifact = Manifest.parse(text).artifacts.get(0);
        String hash = Hashes.hex(Hashes.sha256().digest(MODEL));
        return text.replace(artifact.sha256, hash)
                .replace("\"size_bytes\": " + artifact.sizeBytes, "\"size_bytes\": " + MODEL.length);
    }

    private static BundleStore.Source source(String name, byte[] bytes) {
        return new BundleStore.Source() {
            @Override
            public String name() {
                return name;
            }

            @Override
            public InputStream open() {
                return new ByteArrayInputStream(bytes);
            }
        };
    }

    private static BundleStore.Source manifestSource(String text) {
        return source(Manifest.NAME, text.getBytes(StandardCharsets.UTF_8));
    }

    private void assertRefused(String reason, BundleStore.Source... sources) {
        UserError error = assertThrows(UserError.class, () -> store.add("x", Arrays.asList(sources)));
        assertTrue(error.getMessage(), error.getMessage().contains(reason));
        assertTrue("something was kept", store.list(new ArrayList<>()).isEmpty());
        assertEquals(0, new File(folder.getRoot(), "bundles").list().length);
    }

    @Test
    public void theManifestOfARealExportIsRead() throws IOException {
        Manifest manifest = Manifest.parse(manifest());
        Manifest.Artifact artifact = manifest.artifacts.get(0);
        assertEquals("xnnpack", artifact.target);
        assertEquals(43, artifact.layers.size());
        assertEquals(30, manifest.tokens.symbols.size());
        assertEquals(640, manifest.input.strideSamples);
        assertEquals(5.07, artifact.meanBits, 0.01);
        for (Manifest.Layer layer : artifact.layers.values()) {
            assertTrue(layer.label, Arrays.asList(4, 8, 16, 32).contains(layer.bits));
        }
    }

    @Test
    public void aGoodBundleIsKeptAndListed() throws IOException {
        List<BundleStore.Kept> added =
                store.add("Ada's 4MB", Arrays.asList(manifestSource(manifest()), source("demo-ada.pte", MODEL)));
        assertEquals("Ada-s-4MB/demo-ada.pte", added.get(0).name());
        List<BundleStore.Kept> listed = store.list(new ArrayList<>());
        assertEquals(1, listed.size());
        Manifest.check(listed.get(0).artifact, listed.get(0).file);
    }

    @Test
    public void severalBundlesOfOneNameAreKeptApartAndRemoved() throws IOException {
        List<BundleStore.Source> sources =
                Arrays.asList(manifestSource(manifest()), source("demo-ada.pte", MODEL));
        store.add("ada", sources);
        BundleStore.Kept second = store.add("ada", sources).get(0);
        assertEquals("ada-2/demo-ada.pte", second.name());
        store.remove(second);
        assertEquals(1, store.list(new ArrayList<>()).size());
        assertFalse(second.file.getParentFile().exists());
    }

    @Test
    public void aZipOfTheExportFolderIsABundle() throws IOException {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        try (ZipOutputStream zip = new ZipOutputStream(bytes)) {
            for (String name : new String[] {"exports/" + Manifest.NAME, "exports/demo-ada.pte"}) {
                zip.putNextEntry(new ZipEntry(name));
                zip.write(name.endsWith("json") ? manifest().getBytes(StandardCharsets.UTF_8) : MODEL);
            }
        }
        assertEquals(1, store.add("zipped", Arrays.asList(source("ada.ZIP", bytes.toByteArray()))).size());
    }

    @Test
    public void aFolderWithPrecisionsOfWhisperCppIsTaken() throws IOException {
        String blocks = manifest().replace("\"int8-a8d\"", "\"q4_0-a8b\"");
        assertEquals(1, store.add("blocks", Arrays.asList(manifestSource(blocks), source("demo-ada.pte", MODEL))).size());
    }

    @Test
    public void badBundlesAreRefusedInWordsAndLeaveNothing() throws IOException {
        String good = manifest();
        BundleStore.Source model = source("demo-ada.pte", MODEL);
        assertRefused("there is no manifest.json", model);
        assertRefused("none of which was chosen", manifestSource(good));
        byte[] other = MODEL.clone();
        other[0]++;
        assertRefused("is not the file that was exported", manifestSource(good), source("demo-ada.pte", other));
        assertRefused("has 0 bytes", manifestSource(good), source("demo-ada.pte", new byte[0]));
        assertRefused("not JSON", manifestSource(good.substring(0, 500)), model);
        assertRefused("schema 7", manifestSource(good.replace("\"schema_version\": 2", "\"schema_version\": 7")), model);
        assertRefused("leads out of its folder",
                manifestSource(good.replace("\"demo-ada.pte\"", "\"../demo-ada.pte\"")), model);
        assertRefused("artifacts[0].layers", manifestSource(good.replace("\"int8-a8d\"", "8")), model);
        assertRefused("is not a precision", manifestSource(good.replace("\"int8-a8d\"", "\"int99\"")), model);
        assertRefused("records at 16000 Hz", manifestSource(good.replace("16000", "8000")), model);
        assertRefused("leads out of its folder", manifestSource(good), source("../evil", MODEL));
        assertRefused("input is missing", manifestSource(good.replace("\"input\"", "\"other\"")), model);
    }

    @Test
    public void aBrokenFolderIsNamedAndTheOthersAreListed() throws IOException {
        store.add("good", Arrays.asList(manifestSource(manifest()), source("demo-ada.pte", MODEL)));
        File broken = new File(folder.getRoot(), "bundles/broken");
        assertTrue(broken.mkdirs());
        Files.write(new File(broken, Manifest.NAME).toPath(), new byte[] {'{'});
        List<String> problems = new ArrayList<>();
        assertEquals(1, store.list(problems).size());
        assertTrue(problems.get(0), problems.get(0).startsWith("broken: manifest.json: not JSON"));
    }
}
