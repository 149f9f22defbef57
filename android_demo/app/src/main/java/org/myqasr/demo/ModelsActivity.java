package org.myqasr.demo;

import android.app.Activity;
import android.app.AlertDialog;
import android.content.ClipData;
import android.content.Intent;
import android.database.Cursor;
import android.net.Uri;
import android.os.Bundle;
import android.provider.OpenableColumns;
import android.view.View;
import android.view.ViewGroup;
import android.widget.TextView;
import java.io.IOException;
import java.io.InputStream;
import java.util.ArrayList;
import java.util.List;
import org.myqasr.core.UserError;
import org.myqasr.core.files.BundleStore;
import org.myqasr.core.files.Manifest;

/** Import bundles, look at what the plan gave each layer, remove them. */
public final class ModelsActivity extends Activity {
    private static final int PICK_BUNDLE = 1;

    @Override
    protected void onCreate(Bundle state) {
        super.onCreate(state);
        setContentView(R.layout.activity_models);
        findViewById(R.id.add).setOnClickListener(view -> {
            Intent pick = new Intent(Intent.ACTION_OPEN_DOCUMENT).addCategory(Intent.CATEGORY_OPENABLE);
            pick.setType("*/*").putExtra(Intent.EXTRA_ALLOW_MULTIPLE, true);
            startActivityForResult(pick, PICK_BUNDLE);
        });
        list();
    }

    @Override
    protected void onActivityResult(int request, int result, Intent data) {
        super.onActivityResult(request, result, data);
        if (request != PICK_BUNDLE || result != RESULT_OK || data == null) {
            return;
        }
        List<BundleStore.Source> sources = new ArrayList<>();
        ClipData several = data.getClipData();
        if (several == null) {
            sources.add(new Picked(data.getData()));
        } else {
            for (int i = 0; i < several.getItemCount(); i++) {
                sources.add(new Picked(several.getItemAt(i).getUri()));
            }
        }
        status(getString(R.string.checking));
        Background.run(() -> {
            List<BundleStore.Kept> added = Places.bundles(this).add(bundleName(sources), sources);
            Background.show(() -> {
                status(getString(R.string.added, added.get(0).name()));
                list();
            });
        }, message -> {
            status(getString(R.string.nothing_added));
            Show.error(this, message);
        });
    }

    /** The folder is called after the model file or the zip. */
    private static String bundleName(List<BundleStore.Source> sources) {
        String name = "bundle";
        for (BundleStore.Source source : sources) {
            if (!source.name().equals(Manifest.NAME)) {
                int dot = source.name().indexOf('.');
                name = dot > 0 ? source.name().substring(0, dot) : source.name();
            }
        }
        return name;
    }

    private void list() {
        List<String> problems = new ArrayList<>();
        ViewGroup rows = (ViewGroup) findViewById(R.id.rows);
        rows.removeAllViews();
        for (BundleStore.Kept kept : Places.bundles(this).list(problems)) {
            View row = getLayoutInflater().inflate(R.layout.row_model, rows, false);
            ((TextView) row.findViewById(R.id.row_name)).setText(kept.name());
            ((TextView) row.findViewById(R.id.row_facts)).setText(getString(R.string.model_facts,
                    Show.size(kept.artifact.sizeBytes), kept.artifact.meanBits, kept.artifact.layers.size(),
                    kept.artifact.target, kept.manifest.model));
            ((LayerChart) row.findViewById(R.id.row_chart)).show(kept.artifact);
            row.findViewById(R.id.row_remove).setOnClickListener(view -> confirm(kept));
            rows.addView(row);
        }
        findViewById(R.id.none).setVisibility(rows.getChildCount() == 0 ? View.VISIBLE : View.GONE);
        if (!problems.isEmpty()) {
            Show.error(this, problems.get(0));
        }
    }

    private void confirm(BundleStore.Kept kept) {
        new AlertDialog.Builder(this)
                .setMessage(getString(R.string.remove_question, kept.name()))
                .setPositiveButton(R.string.remove, (dialog, which) -> {
                    Places.bundles(this).remove(kept);
                    list();
                })
                .setNegativeButton(R.string.not_now, null)
                .show();
    }

    private void status(String text) {
        ((TextView) findViewById(R.id.status)).setText(text);
    }

    /** A file that the system's picker gave. */
    private final class Picked implements BundleStore.Source {
        private final Uri uri;
        private final String name;

        Picked(Uri uri) {
            this.uri = uri;
            String found = null;
            String[] columns = {OpenableColumns.DISPLAY_NAME};
            try (Cursor cursor = getContentResolver().query(uri, columns, null, null, null)) {
                if (cursor != null && cursor.moveToFirst()) {
                    found = cursor.getString(0);
                }
            }
            name = found != null ? found : uri.getLastPathSegment();
        }

        @Override
        public String name() {
            return name;
        }

        @Override
        public InputStream open() throws IOException {
            InputStream in = getContentResolver().openInputStream(uri);
            if (in == null) {
                throw new UserError(name + " can't be opened");
            }
            return in;
        }
    }
}
