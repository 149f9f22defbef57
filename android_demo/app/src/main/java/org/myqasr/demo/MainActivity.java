package org.myqasr.demo;

import android.app.Activity;
import android.app.AlertDialog;
import android.content.Intent;
import android.os.Bundle;
import android.os.SystemClock;
import android.view.View;
import android.widget.ArrayAdapter;
import android.widget.CheckBox;
import android.widget.Spinner;
import android.widget.TextView;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import org.myqasr.core.LiveSession;
import org.myqasr.core.UserError;
import org.myqasr.core.audio.Waveforms;
import org.myqasr.core.files.BundleStore;
import org.myqasr.core.text.Transcript;
import org.myqasr.demo.engines.LoadedModel;

/** Speak, or choose a file or clip, and see what one or two models make of it. */
public final class MainActivity extends Activity {
    private static final int PICK_AUDIO = 1;
    private static final int THREADS = 4;
    private static final int WINDOW = 6 * Waveforms.SAMPLE_RATE;
    private static final int HOP = Waveforms.SAMPLE_RATE / 2;

    private final List<BundleStore.Kept> kept = new ArrayList<>();
    private Spinner first;
    private Spinner second;
    private CheckBox compare;
    private TextView live;
    private Microphone microphone;
    private boolean busy;
    private LoadedModel loaded; // the first model; used on the background thread only

    @Override
    protected void onCreate(Bundle state) {
        super.onCreate(state);
        setContentView(R.layout.activity_main);
        first = (Spinner) findViewById(R.id.first_model);
        second = (Spinner) findViewById(R.id.second_model);
        compare = (CheckBox) findViewById(R.id.compare);
        live = (TextView) findViewById(R.id.live_text);
        compare.setOnCheckedChangeListener((box, on) -> showCompared(on));
        open(R.id.models, ModelsActivity.class);
        open(R.id.benchmark, BenchmarkActivity.class);
        open(R.id.personalise, RecordActivity.class);
        findViewById(R.id.file).setOnClickListener(view -> pickFile());
        findViewById(R.id.clip).setOnClickListener(view -> pickClip());
        HoldButton.attach(findViewById(R.id.hold), new HoldButton.Holding() {
            @Override
            public boolean begin() {
                return beginRecording();
            }

            @Override
            public void end() {
                microphone.stop();
            }
        });
    }

    @Override
    protected void onResume() {
        super.onResume();
        kept.clear();
        List<String> problems = new ArrayList<>();
        kept.addAll(Places.bundles(this).list(problems));
        List<String> names = new ArrayList<>();
        for (BundleStore.Kept one : kept) {
            names.add(getString(R.string.model_entry, one.name(), Show.size(one.artifact.sizeBytes)));
        }
        fill(first, names);
        fill(second, names);
        second.setSelection(names.size() > 1 ? 1 : 0);
        showCompared(compare.isChecked());
        if (!problems.isEmpty()) {
            Show.error(this, problems.get(0));
        }
        if (kept.isEmpty()) {
            live.setText(R.string.no_model_yet);
        }
    }

    @Override
    protected void onPause() {
        super.onPause();
        if (microphone != null) {
            microphone.stop();
        }
    }

    @Override
    protected void onDestroy() {
        super.onDestroy();
        Background.run(this::unload, message -> { });
    }

    private boolean beginRecording() {
        BundleStore.Kept model = chosen(first);
        if (busy || model == null || !Permission.microphone(this)) {
            return false;
        }
        try {
            microphone = Microphone.start(() -> Background.show(() -> live.setText(R.string.speak_now)));
        } catch (UserError error) {
            Show.error(this, error.getMessage());
            return false;
        }
        begin(R.string.starting);
        Microphone source = microphone;
        BundleStore.Kept other = compare.isChecked() ? chosen(second) : null;
        Background.run(() -> listen(source, model, other), this::failed);
        return true;
    }

    /** Text while recording, then the final one; on the background thread. */
    private void listen(Microphone source, BundleStore.Kept model, BundleStore.Kept other) throws Exception {
        LiveSession session = new LiveSession(load(model).recognizer, WINDOW, HOP);
        List<float[]> pieces = new ArrayList<>();
        boolean over = false;
        while (!over) {
            // Take all that came in while the model ran, so that text never lags behind by more than one run.
            for (float[] piece = source.next(); piece != null; piece = source.waiting()) {
                over |= piece.length == 0;
                pieces.add(piece);
                session.append(piece);
            }
            if (!over && session.partialDue()) {
                CharSequence text = session.partial().text();
                Background.show(() -> live.setText(text));
            }
        }
        long released = SystemClock.elapsedRealtimeNanos();
        Transcript heard = session.finish();
        double latencyMs = (SystemClock.elapsedRealtimeNanos() - released) / 1e6;
        Background.show(() -> live.setText(heard.text()));
        compared(Microphone.joined(pieces), model, other, latencyMs);
    }

    private void transcribe(Reading reading) {
        BundleStore.Kept model = chosen(first);
        if (busy || model == null) {
            return;
        }
        begin(R.string.working);
        BundleStore.Kept other = compare.isChecked() ? chosen(second) : null;
        Background.run(() -> compared(reading.waveform(), model, other, Double.NaN), this::failed);
    }

    /** Both models on the same recording; on the background thread. */
    private void compared(float[] waveform, BundleStore.Kept model, BundleStore.Kept other, double latencyMs)
            throws IOException {
        if (Waveforms.peak(waveform) < Waveforms.SILENT_PEAK) {
            throw new UserError(getString(R.string.silent));
        }
        Result one = result(load(model), waveform, latencyMs);
        Result two = null;
        if (other != null) {
            try (LoadedModel opened = LoadedModel.open(other, THREADS)) {
                two = result(opened, waveform, Double.NaN);
            }
        }
        Result compared = two;
        Background.show(() -> finished(one, compared));
    }

    private Result result(LoadedModel model, float[] waveform, double latencyMs) {
        long start = SystemClock.elapsedRealtimeNanos();
        Transcript heard = model.recognizer.transcribe(waveform);
        double ms = (SystemClock.elapsedRealtimeNanos() - start) / 1e6;
        String figures = getString(R.string.figures,
                String.format(Locale.ROOT, "%.3f", ms / 1e3 / Waveforms.seconds(waveform)),
                String.format(Locale.ROOT, "%.0f ms", Double.isNaN(latencyMs) ? ms : latencyMs),
                Show.size(DeviceFacts.pssBytes()),
                Show.size(model.kept.artifact.sizeBytes),
                String.format(Locale.ROOT, "%.2f", model.kept.artifact.meanBits));
        return new Result(model.kept, heard, figures);
    }

    private void finished(Result one, Result two) {
        busy = false;
        live.setText(one.heard.text());
        put(one, R.id.first_name, R.id.first_text, R.id.first_figures, R.id.first_chart);
        findViewById(R.id.first_result).setVisibility(View.VISIBLE);
        findViewById(R.id.second_result).setVisibility(two == null ? View.GONE : View.VISIBLE);
        if (two != null) {
            put(two, R.id.second_name, R.id.second_text, R.id.second_figures, R.id.second_chart);
        }
    }

    private void put(Result result, int name, int text, int figures, int chart) {
        ((TextView) findViewById(name)).setText(result.model.name());
        TextView words = (TextView) findViewById(text);
        words.setText(Show.words(this, result.heard));
        words.setContentDescription(Show.spoken(this, result.heard));
        ((TextView) findViewById(figures)).setText(result.figures);
        ((LayerChart) findViewById(chart)).show(result.model.artifact);
    }

    /** The first model stays loaded; on the background thread. */
    private LoadedModel load(BundleStore.Kept wanted) throws IOException {
        if (loaded == null || !loaded.kept.file.equals(wanted.file)) {
            unload();
            loaded = LoadedModel.open(wanted, THREADS);
        }
        return loaded;
    }

    private void unload() {
        if (loaded != null) {
            loaded.close();
            loaded = null;
        }
    }

    private void pickFile() {
        Intent pick = new Intent(Intent.ACTION_OPEN_DOCUMENT).addCategory(Intent.CATEGORY_OPENABLE);
        startActivityForResult(pick.setType("audio/*"), PICK_AUDIO);
    }

    @Override
    protected void onActivityResult(int request, int result, Intent data) {
        super.onActivityResult(request, result, data);
        if (request == PICK_AUDIO && result == RESULT_OK && data != null && data.getData() != null) {
            transcribe(() -> AudioFiles.read(this, data.getData()));
        }
    }

    private void pickClip() {
        List<String[]> clips;
        try {
            clips = Clips.bundled(this);
        } catch (IOException error) {
            Show.error(this, error.getMessage());
            return;
        }
        String[] texts = new String[clips.size()];
        for (int i = 0; i < texts.length; i++) {
            texts[i] = clips.get(i)[1];
        }
        new AlertDialog.Builder(this)
                .setTitle(R.string.clip_title)
                .setItems(texts, (dialog, which) -> transcribe(() -> Clips.read(this, clips.get(which)).waveform))
                .show();
    }

    private BundleStore.Kept chosen(Spinner spinner) {
        int place = spinner.getSelectedItemPosition();
        if (place < 0 || place >= kept.size()) {
            Show.error(this, getString(R.string.no_model_yet));
            return null;
        }
        return kept.get(place);
    }

    private void begin(int message) {
        busy = true;
        live.setText(message);
    }

    private void failed(String message) {
        busy = false;
        live.setText("");
        Show.error(this, message);
    }

    private void showCompared(boolean on) {
        second.setVisibility(on ? View.VISIBLE : View.GONE);
        if (!on) {
            findViewById(R.id.second_result).setVisibility(View.GONE);
        }
    }

    private void fill(Spinner spinner, List<String> names) {
        int place = spinner.getSelectedItemPosition();
        spinner.setAdapter(new ArrayAdapter<>(this, android.R.layout.simple_spinner_dropdown_item, names));
        if (place >= 0 && place < names.size()) {
            spinner.setSelection(place);
        }
    }

    private void open(int button, Class<?> screen) {
        findViewById(button).setOnClickListener(view -> startActivity(new Intent(this, screen)));
    }

    /** Audio that is read on the background thread. */
    private interface Reading {
        float[] waveform() throws IOException;
    }

    private static final class Result {
        final BundleStore.Kept model;
        final Transcript heard;
        final String figures;

        Result(BundleStore.Kept model, Transcript heard, String figures) {
            this.model = model;
            this.heard = heard;
            this.figures = figures;
        }
    }
}
