package org.myqasr.demo;

import android.app.Activity;
import android.app.AlertDialog;
import android.content.Intent;
import android.os.Bundle;
import android.widget.TextView;
import java.io.File;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.util.ArrayList;
import java.util.List;
import org.myqasr.core.UserError;
import org.myqasr.core.audio.Recordings;

/** Record a dozen sentences, of which nobody writes down a word, and give them out as a zip. */
public final class RecordActivity extends Activity {
    private static final int SAVE = 1;
    private static final int WANTED = 12;

    private Recordings recordings;
    private String[] prompts;
    private Microphone microphone;

    @Override
    protected void onCreate(Bundle state) {
        super.onCreate(state);
        setContentView(R.layout.activity_record);
        recordings = Places.recordings(this);
        prompts = getResources().getStringArray(R.array.prompts);
        HoldButton.attach(findViewById(R.id.record), new HoldButton.Holding() {
            @Override
            public boolean begin() {
                return beginRecording();
            }

            @Override
            public void end() {
                microphone.stop();
            }
        });
        findViewById(R.id.share).setOnClickListener(view -> zipped(() ->
                startActivity(RecordingsProvider.share(this))));
        findViewById(R.id.save).setOnClickListener(view -> zipped(() -> {
            Intent save = new Intent(Intent.ACTION_CREATE_DOCUMENT).addCategory(Intent.CATEGORY_OPENABLE);
            save.setType("application/zip").putExtra(Intent.EXTRA_TITLE, "recordings.zip");
            startActivityForResult(save, SAVE);
        }));
        findViewById(R.id.delete_last).setOnClickListener(view -> deleteLast());
        findViewById(R.id.delete_all).setOnClickListener(view -> new AlertDialog.Builder(this)
                .setMessage(R.string.delete_question)
                .setPositiveButton(R.string.delete_all, (dialog, which) -> deleteAll())
                .setNegativeButton(R.string.not_now, null)
                .show());
        show();
    }

    @Override
    protected void onPause() {
        super.onPause();
        if (microphone != null) {
            microphone.stop();
        }
    }

    @Override
    protected void onActivityResult(int request, int result, Intent data) {
        super.onActivityResult(request, result, data);
        if (request == SAVE && result == RESULT_OK && data != null && data.getData() != null) {
            Background.run(() -> {
                try (OutputStream out = getContentResolver().openOutputStream(data.getData())) {
                    recordings.writeZip(out);
                }
                Background.show(() -> say(getString(R.string.saved)));
            }, message -> Show.error(this, message));
        }
    }

    private boolean beginRecording() {
        if (!Permission.microphone(this)) {
            return false;
        }
        try {
            microphone = Microphone.start(() -> Background.show(() -> say(getString(R.string.speak_now))));
        } catch (UserError error) {
            Show.error(this, error.getMessage());
            return false;
        }
        Microphone source = microphone;
        Background.run(() -> {
            List<float[]> pieces = new ArrayList<>();
            do {
                pieces.add(source.next());
            } while (pieces.get(pieces.size() - 1).length > 0);
            recordings.add(Microphone.joined(pieces));
            Background.show(this::show);
        }, message -> {
            show();
            Show.error(this, message);
        });
        return true;
    }

    /** Write the zip that is to be shared or saved, then go on. */
    private void zipped(Runnable then) {
        Background.run(() -> {
            try (OutputStream out = new FileOutputStream(Places.sharedZip(this))) {
                recordings.writeZip(out);
            }
            Background.show(then);
        }, message -> Show.error(this, message));
    }

    private void deleteLast() {
        List<File> files = recordings.list();
        if (!files.isEmpty()) {
            delete(files.subList(files.size() - 1, files.size()));
        }
    }

    private void deleteAll() {
        List<File> files = new ArrayList<>(recordings.list());
        files.add(Places.sharedZip(this));
        delete(files);
    }

    private void delete(List<File> files) {
        try {
            for (File file : files) {
                if (file.exists() && !file.delete()) {
                    throw new IOException(getString(R.string.cant_delete, file.getName()));
                }
            }
        } catch (IOException error) {
            Show.error(this, error.getMessage());
        }
        show();
    }

    private void show() {
        int count = recordings.list().size();
        ((TextView) findViewById(R.id.prompt)).setText(prompts[count % prompts.length]);
        say(getString(count < WANTED ? R.string.recorded_of : R.string.recorded_enough, count, WANTED));
        for (int button : new int[] {R.id.share, R.id.save, R.id.delete_last, R.id.delete_all}) {
            findViewById(button).setEnabled(count > 0);
        }
    }

    private void say(String text) {
        ((TextView) findViewById(R.id.count)).setText(text);
    }
}
