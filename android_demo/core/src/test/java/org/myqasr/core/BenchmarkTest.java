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
import org.myqasr.core.files.Hashes;
import org.myqasr.core.files.Manifest;
import org.myqasr.core.text.Transcript;
import org.myqasr.core.text.Word;

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
    public void allSystemsRunTheSameUtterancesAfterTheWarmUp() {
        List<String> order = new ArrayList<>();
        Map<String, Protocol.Work> work = new LinkedHashMap<>();
        work.put("a", takes(1, order, "a"));
        work.put("b", takes(2, order, "b"));
        Protocol.Turns turns = Protocol.takeTurns(
                work, 2, new Protocol.Options(2, 3, 0, 100), () -> now, (done, total) -> true);
        assertEquals(Arrays.asList("a0", "b0", "a1", "b1"), order.subList(0, 4));
        assertEquals(Arrays.asList(0, 1, 0, 1), turns.utterances); // rounds are completed
        for (int turn = 0; turn < 4; turn++) {
            List<String> both = new ArrayList<>(order.subList(4 + 2 * turn, 6 + 2 * turn));
            Collections.sort(both);
            assertEquals(Arrays.asList("a" + turn % 2, "b" + turn % 2), both);
        }
        assertEquals(Arrays.asList(1.0, 1.0, 1.0, 1.0), turns.seconds.get("a"));
    }

    @Test
    public void timingEndsWithTheTimeOrOnRequestAfterWholeTurns() {
        Map<String, Protocol.Work> work = new LinkedHashMap<>();
        work.put("a", takes(1, new ArrayList<>(), "a"));
        work.put("b", takes(1, new ArrayList<>(), "b"));
        Protocol.Turns turns = Protocol.takeTurns(
                work, 3, new Protocol.Options(0, 9, 0, 3.5), () -> now, (done, total) -> true);
        assertEquals(Arrays.asList(0, 1), turns.utterances);
        assertEquals(Arrays.asList(1.0, 1.0), turns.seconds.get("b"));
        Protocol.Turns longer = Protocol.takeTurns(
                work, 1, new Protocol.Options(0, 1, 4.5, 100), () -> now, (done, total) -> true);
        assertEquals(5, longer.utterances.size());
        Protocol.Turns none = Protocol.takeTurns(
                work, 3, new Protocol.Options(0, 9, 0, 9), () -> now, (done, total) -> false);
        assertThrows(UserError.class, () -> Latency.of(none.utterances, none.seconds.get("a"), new double[3]));
        assertThrows(UserError.class, () -> new Protocol.Options(0, 0, 0, 1));
    }

    /** The report that tests/android_demo/test_android_report.py reads as a BenchReport. */
    private static BenchReport report() throws IOException {
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
        report.command = "am start -n org.myqasr.demo/.BenchmarkActivity";
        report.model = "default";
        report.weightsHash = String.join("", Collections.nCopies(64, "b"));
        report.timing = new Protocol.Options(10, 9, 0, 300);
        report.audioHash = Hashes.ofWaveforms(Arrays.asList(new float[] {0.5f, -0.25f}, new float[] {1f}));
        String[] texts = {"WE DANCED USUALLY", "TWO SIX THREE", null};
        for (int i = 0; i < texts.length; i++) {
            report.utterances.add(new BenchReport.Utterance("clip-" + i + ".wav", 1.5 + i, texts[i]));
        }
        String[][] heard = {{"WE DANCED USUALLY", "TWO SIX", "YES"}, {"WE DANCED USUAL", "TWO SIX", "YES"}};
        String text = new String(Files.readAllBytes(
                Paths.get(System.getProperty("myqasr.resources"), Manifest.NAME)), StandardCharsets.UTF_8);
        Protocol.Turns turns = new Protocol.Turns();
        for (int i = 0; i < heard.length; i++) {
            BenchReport.System system = new BenchReport.System();
            system.name = "ada-" + i + "/demo-ada.pte";
            system.runner = "executorch";
            system.description = "ExecuTorch on Android";
            system.artifact = Manifest.parse(text).artifacts.get(0);
            system.threads = 4;
            for (String words : heard[i]) {
                int[] tokens = {words.length(), 0, i}; // one in three flips
                system.heard.add(new Transcript(Arrays.asList(new Word(words, 1)), tokens));
            }
            system.loadMs = 41.5;
            system.firstInferenceMs = 30.25;
            system.baselineBytes = 100_000_000;
            system.peakBytes = 120_000_000;
            report.systems.add(system);
            turns.seconds.put(system.name, Arrays.asList(0.02, 0.021, 0.022, 2e-2, 0.021, 0.022, 0.02, 0.021, 0.022));
        }
        turns.utterances.addAll(Arrays.asList(0, 1, 2, 0, 1, 2, 0, 1, 2));
        report.timed(turns);
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
    public void tooFewTimingsMakeAReportInvalid() throws IOException {
        List<String> problems = report().allProblems();
        assertTrue(problems.toString(), problems.contains("ada-0/demo-ada.pte: 3 utterances timed, 5 are needed"));
        assertThrows(UserError.class, () -> new BenchReport().toJson());
    }
}
