package org.myqasr.core;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertThrows;
import static org.junit.Assert.assertTrue;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.junit.Test;

public class BenchmarkTest {
    /** Time that passes only when something is processed. */
    private double now;

    private Protocol.Work takes(double seconds, List<String> order, String name) {
        return utterance -> {
            now += seconds;
            order.add(name + utterance);
        };
    }

    @Test
    public void systemsTakeTurnsAfterTheWarmUp() {
        List<String> order = new ArrayList<>();
        Map<String, Protocol.Work> work = new LinkedHashMap<>();
        work.put("a", takes(1, order, "a"));
        work.put("b", takes(2, order, "b"));
        Map<String, List<List<Double>>> times = Protocol.interleaved(
                work, 2, new Protocol.Options(1, 2, 100), () -> now, (done, total) -> true);
        assertEquals(Arrays.asList("a0", "b0", "a0", "b0", "b1", "a1", "a0", "b0", "b1", "a1"), order);
        assertEquals(Arrays.asList(Arrays.asList(1.0, 1.0), Arrays.asList(1.0, 1.0)), times.get("a"));
    }

    @Test
    public void timingEndsWithTheTimeOrOnRequestAfterWholeTurns() {
        Map<String, Protocol.Work> work = new LinkedHashMap<>();
        work.put("a", takes(1, new ArrayList<>(), "a"));
        work.put("b", takes(1, new ArrayList<>(), "b"));
        Map<String, List<List<Double>>> times = Protocol.interleaved(
                work, 3, new Protocol.Options(0, 9, 3.5), () -> now, (done, total) -> true);
        assertEquals(Arrays.asList(1.0), times.get("b").get(1));
        assertEquals(Collections.emptyList(), times.get("a").get(2));
        List<List<Double>> none = Protocol.interleaved(
                work, 3, new Protocol.Options(0, 9, 9), () -> now, (done, total) -> false).get("a");
        assertThrows(UserError.class, () -> Latency.of(none, new double[] {1, 1, 1}));
        assertThrows(UserError.class, () -> new Protocol.Options(0, 0, 1));
    }

    /** The report that tests/test_android_report.py reads as a BenchReport. */
    private static BenchReport report() {
        BenchReport report = new BenchReport();
        report.created = "2026-11-21T12:00:00+00:00";
        report.device.cpu = "Google Tensor G3";
        report.device.machine = "arm64-v8a";
        report.device.cores = 9;
        report.device.memoryBytes = 8_000_000_000L;
        report.device.system = "Android 15 (API 35) on Google Pixel 8";
        report.versions.put("executorch", "1.5.1");
        report.versions.put("thermal status", "none to light");
        report.threads = 4;
        report.audioHash = Hashes.ofWaveforms(Arrays.asList(new float[] {0.5f, -0.25f}, new float[] {1f}));
        String[] texts = {"WE DANCED USUALLY", "TWO SIX THREE", null};
        for (int i = 0; i < texts.length; i++) {
            report.utterances.add(new BenchReport.Utterance("clip-" + i + ".ogg", 1.5 + i, texts[i]));
        }
        String[][] heard = {{"WE DANCED USUALLY", "TWO SIX", "YES"}, {"WE DANCED USUAL", "TWO SIX", "YES"}};
        for (int i = 0; i < heard.length; i++) {
            BenchReport.System system = new BenchReport.System();
            system.name = "ada-" + i + "/ada.pte";
            system.runner = "executorch";
            system.description = "ExecuTorch on Android";
            system.sha256 = String.join("", Collections.nCopies(64, "a"));
            system.sizeBytes = 3_996_792;
            system.threads = 4;
            system.transcripts = Arrays.asList(heard[i]);
            List<Double> seconds = Arrays.asList(0.020, 0.021, 0.022);
            system.latency = Latency.of(Arrays.asList(seconds, seconds, seconds), new double[] {1.5, 2.5, 3.5});
            system.loadMs = 41.5;
            system.firstInferenceMs = 30.25;
            system.baselineBytes = 100_000_000;
            system.peakBytes = 120_000_000;
            report.systems.add(system);
        }
        report.problems.add("the phone saves power; switch the battery saver off and run again");
        return report;
    }

    @Test
    public void theReportIsWhatPythonReads() throws IOException {
        String text = report().toJson();
        String expected = new String(Files.readAllBytes(
                Paths.get(System.getProperty("myqasr.resources"), "report.json")), StandardCharsets.UTF_8);
        assertEquals(expected, text);
    }

    @Test
    public void tooFewTimingsMakeAReportInvalid() {
        List<String> problems = report().allProblems();
        assertTrue(problems.toString(), problems.contains("ada-0/ada.pte: 3 utterances timed, 5 are needed"));
        assertThrows(UserError.class, () -> new BenchReport().toJson());
    }
}
