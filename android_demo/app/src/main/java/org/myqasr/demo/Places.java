package org.myqasr.demo;

import android.content.Context;
import java.io.File;
import java.io.IOException;
import org.myqasr.core.UserError;
import org.myqasr.core.audio.Recordings;
import org.myqasr.core.files.BundleStore;

/** Folders of the app on the phone's storage, where `adb push` and `adb pull` reach them. */
final class Places {
    private Places() {}

    /** Bundles that can be used: one folder each. */
    static BundleStore bundles(Context context) {
        return new BundleStore(folder(context, "bundles"));
    }

    /** Result files of the benchmark. */
    static File results(Context context) {
        return folder(context, "results");
    }

    /** Clips for the benchmark that were pushed: folders of audio files with a .txt of the same name beside each. */
    static File clips(Context context) {
        return folder(context, "clips");
    }

    static Recordings recordings(Context context) {
        return new Recordings(new File(folder(context, "recordings"), "me"));
    }

    /** The zip that is shared, only while it is. */
    static File sharedZip(Context context) {
        return new File(context.getCacheDir(), "recordings.zip");
    }

    /** A file or folder below `parent`; UserError for a name that leads out of it. */
    static File inside(File parent, String name) throws IOException {
        File found = new File(parent, name).getCanonicalFile();
        if (!found.getPath().startsWith(parent.getCanonicalPath() + File.separator)) {
            throw new UserError(name + " leads out of " + parent);
        }
        return found;
    }

    private static File folder(Context context, String name) {
        File outside = context.getExternalFilesDir(name);
        return outside != null ? outside : new File(context.getFilesDir(), name);
    }
}
