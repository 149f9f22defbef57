package org.myqasr.demo.engines;

import android.os.SystemClock;
import java.io.IOException;
import org.myqasr.core.Engine;
import org.myqasr.core.Recognizer;
import org.myqasr.core.UserError;
import org.myqasr.core.files.BundleStore;
import org.myqasr.core.files.Manifest;

/** A kept file, loaded after its hash was checked. */
public final class LoadedModel implements AutoCloseable {
    public final BundleStore.Kept kept;
    public final Engine engine;
    public final Recognizer recognizer;
    public final double loadMs;

    private LoadedModel(BundleStore.Kept kept, Engine engine, double loadMs) {
        this.kept = kept;
        this.engine = engine;
        this.loadMs = loadMs;
        recognizer = new Recognizer(engine, kept.manifest.tokens, kept.manifest.input,
                kept.artifact.minSamples, kept.artifact.maxSamples);
    }

    /** Check and load; UserError says what is wrong with the file. */
    public static LoadedModel open(BundleStore.Kept kept, int threads) throws IOException {
        Manifest.check(kept.artifact, kept.file);
        long start = SystemClock.elapsedRealtimeNanos();
        Engine engine = engine(kept, threads);
        return new LoadedModel(kept, engine, (SystemClock.elapsedRealtimeNanos() - start) / 1e6);
    }

    private static Engine engine(BundleStore.Kept kept, int threads) {
        String file = kept.artifact.file;
        if (file.endsWith(".pte") && !file.endsWith(".coreml.pte")) {
            return ExecuTorchEngine.open(kept.file, kept.manifest.tokens.autoregression, threads);
        }
        if (file.endsWith(".tflite")) {
            if (kept.manifest.tokens.autoregression != null) {
                throw new UserError(file + " writes token by token, which this app runs from .pte files only; "
                        + "export for xnnpack or executorch");
            }
            return LiteRtEngine.open(kept.file, threads);
        }
        throw new UserError(file + " (" + kept.artifact.target + ") can't run on Android; export for xnnpack, "
                + "executorch or tflite");
    }

    @Override
    public void close() {
        engine.close();
    }
}
