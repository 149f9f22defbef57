package org.myqasr.demo;

import android.app.Activity;
import android.content.Intent;
import android.os.Bundle;
import android.util.Log;
import android.view.WindowManager;
import android.widget.ProgressBar;
import android.widget.TextView;
import java.io.File;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import org.myqasr.core.BenchReport;
import org.myqasr.core.Protocol;
import org.myqasr.core.UserError;
import org.myqasr.core.files.BundleStore;

/**
 * The benchmark, by button or by intent:
 *
 * <pre>
 * am start -W -n org.myqasr.demo/.BenchmarkActivity --es bundle alice/alice.pte,uniform/uniform.pte \
 *     --es clips bundled --ei threads 4 --ei warmup 10 --ei runs 50 --ei seconds 5 --ei max_seconds 600
 * </pre>
 *
 * Writes one result file into the app's `results` folder and logs `myqasr: result PATH` or `myqasr: failed REASON`.
 */
public final class BenchmarkActivity extends Activity {
    private static final String TAG = "myqasr";
    private static final int THREADS = 4;
    private static final int WARMUP = 10;
    private static final int RUNS = 50;
    private static final int SECONDS = 5;
    private static final int MAX_SECONDS = 600;

    private volatile boolean stopped;
    private boolean running;

    @Override
    protected void onCreate(Bundle state) {
        super.onCreate(state);
        setContentView(R.layout.activity_benchmark);
        // The processor slows down when the screen is off.
        getWindow().addFlags(WindowManager.LayoutParams.FLAG_KEEP_SCREEN_ON);
        findViewById(R.id.start).setOnClickListener(view -> start(new Intent()));
        findViewById(R.id.stop).setOnClickListener(view -> stopped = true);
        if (state == null && getIntent().hasExtra("bundle")) {
            start(getIntent());
        }
    }

    @Override
    protected void onDestroy() {
        super.onDestroy();
        stopped = true;
    }

    private void start(Intent asked) {
        if (running) {
            return;
        }
        running = true;
        stopped = false;
        String bundle = asked.getStringExtra("bundle");
        String clips = asked.getStringExtra("clips");
        int threads = asked.getIntExtra("threads", THREADS);
        int warmup = asked.getIntExtra("warmup", WARMUP);
        int runs = asked.getIntExtra("runs", RUNS);
        int seconds = asked.getIntExtra("seconds", SECONDS);
        int most = asked.getIntExtra("max_seconds", MAX_SECONDS);
        String command = bundle == null ? "Benchmark by button"
                : "am start -n org.myqasr.demo/.BenchmarkActivity --es bundle " + bundle;
        say(getString(R.string.benchmark_preparing));
        Background.run(() -> {
            Benchmark.Plan plan = new Benchmark.Plan(systems(bundle),
                    Clips.all(this, clips == null ? Clips.BUNDLED : clips), threads,
                    new Protocol.Options(warmup, runs, seconds, most), command);
            BenchReport report = Benchmark.run(this, plan, this::progress);
            if (stopped) {
                throw new UserError(getString(R.string.benchmark_stopped));
            }
            File file = Benchmark.save(this, report);
            Log.i(TAG, "result " + file);
            String summary = summary(report, file);
            Background.show(() -> done(summary));
        }, message -> {
            Log.e(TAG, "failed " + message);
            done(stopped ? getString(R.string.benchmark_stopped) : message);
        });
    }

    /** Those that were named, separated by commas; all when none was. */
    private List<BundleStore.Kept> systems(String names) {
        List<String> problems = new ArrayList<>();
        List<BundleStore.Kept> kept = Places.bundles(this).list(problems);
        if (names == null) {
            if (kept.isEmpty()) {
                throw new UserError(getString(R.string.no_model_yet));
            }
            return kept;
        }
        List<BundleStore.Kept> chosen = new ArrayList<>();
        for (String name : names.split(",")) {
            int before = chosen.size();
            for (BundleStore.Kept one : kept) {
                if (one.name().equals(name) || one.name().startsWith(name + "/")) {
                    chosen.add(one);
                }
            }
            if (chosen.size() == before) {
                List<String> known = new ArrayList<>();
                for (BundleStore.Kept one : kept) {
                    known.add(one.name());
                }
                throw new UserError("there is no model " + name + "; there are: " + Arrays.toString(known.toArray()));
            }
        }
        return chosen;
    }

    private boolean progress(int done, int total) {
        Background.show(() -> {
            ProgressBar bar = (ProgressBar) findViewById(R.id.progress);
            bar.setMax(total);
            bar.setProgress(done);
        });
        return !stopped;
    }

    private String summary(BenchReport report, File file) {
        StringBuilder text = new StringBuilder();
        for (BenchReport.System system : report.systems) {
            text.append(String.format(Locale.ROOT, "%s\n%s · RTF %.4f · %.1f ms (90 %%: %.1f, trimmed mean: %.1f)\n\n",
                    system.name, Show.size(system.artifact.sizeBytes), system.latency.rtf, system.latency.medianMs,
                    system.latency.p90Ms, system.latency.trimmedMeanMs));
        }
        for (String problem : report.allProblems()) {
            text.append(getString(R.string.not_valid, problem)).append('\n');
        }
        return text.append(getString(R.string.written_to, file.getPath())).toString();
    }

    private void done(String message) {
        running = false;
        say(message);
    }

    private void say(String text) {
        ((TextView) findViewById(R.id.outcome)).setText(text);
    }
}
