package org.myqasr.demo;

import android.os.Handler;
import android.os.Looper;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

/** One thread for everything that loads or runs a model, shared by the screens, so that no two do at once. */
final class Background {
    /** Work that may fail. */
    interface Work {
        void run() throws Exception;
    }

    /** Told of a failure, on the main thread. */
    interface Failed {
        void because(String message);
    }

    private static final ExecutorService THREAD = Executors.newSingleThreadExecutor();
    private static final Handler MAIN = new Handler(Looper.getMainLooper());

    private Background() {}

    static void run(Work work, Failed failed) {
        THREAD.execute(() -> {
            try {
                work.run();
            } catch (Exception | LinkageError | OutOfMemoryError error) {
                String message = error.getMessage() == null ? error.toString() : error.getMessage();
                android.util.Log.w("myqasr", error);
                show(() -> failed.because(message));
            }
        });
    }

    /** Do something on the main thread. */
    static void show(Runnable what) {
        MAIN.post(what);
    }
}
