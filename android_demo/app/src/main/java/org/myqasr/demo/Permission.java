package org.myqasr.demo;

import android.Manifest;
import android.app.Activity;
import android.app.AlertDialog;
import android.content.pm.PackageManager;

/** The microphone, asked for when it is needed, after saying what for. */
final class Permission {
    private static final int REQUEST = 1;

    private Permission() {}

    /** Whether the microphone may be used; if not, explains and asks. The user then presses the button again. */
    static boolean microphone(Activity activity) {
        String name = Manifest.permission.RECORD_AUDIO;
        if (activity.checkSelfPermission(name) == PackageManager.PERMISSION_GRANTED) {
            return true;
        }
        new AlertDialog.Builder(activity)
                .setTitle(R.string.microphone_title)
                .setMessage(R.string.microphone_why)
                .setPositiveButton(R.string.go_on, (dialog, which) ->
                        activity.requestPermissions(new String[] {name}, REQUEST))
                .setNegativeButton(R.string.not_now, null)
                .show();
        return false;
    }
}
