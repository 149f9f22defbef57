package org.myqasr.demo.engines;

import java.io.File;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import org.myqasr.core.Engine;
import org.myqasr.core.UserError;
import org.myqasr.core.text.Logits;
import org.tensorflow.lite.Interpreter;
import org.tensorflow.lite.Tensor;

/** A .tflite file in LiteRT's interpreter; its input is made as long as each utterance. */
public final class LiteRtEngine implements Engine {
    private final Interpreter interpreter;
    private final int threads;
    private int samples = -1; // that the interpreter's tensors are laid out for

    private LiteRtEngine(Interpreter interpreter, int threads) {
        this.interpreter = interpreter;
        this.threads = threads;
    }

    public static LiteRtEngine open(File file, int threads) {
        try {
            Interpreter.Options options = new Interpreter.Options();
            options.setNumThreads(threads);
            return new LiteRtEngine(new Interpreter(file, options), threads);
        } catch (RuntimeException error) {
            throw new UserError("LiteRT can't load " + file.getName() + ": " + error.getMessage(), error);
        }
    }

    @Override
    public Logits logits(float[] features) {
        try {
            if (samples != features.length) {
                interpreter.resizeInput(0, new int[] {1, features.length});
                interpreter.allocateTensors();
                samples = features.length;
            }
            FloatBuffer input =
                    ByteBuffer.allocateDirect(4 * features.length).order(ByteOrder.nativeOrder()).asFloatBuffer();
            input.put(features).rewind();
            // How many frames come out may only be known after the run, so the output is fetched then.
            interpreter.run(input, null);
            Tensor output = interpreter.getOutputTensor(0);
            int[] shape = output.shape();
            if (shape.length != 3 || shape[0] != 1) {
                throw new UserError("the model's output has " + shape.length
                        + " dimensions, not [1, frames, vocabulary]");
            }
            float[] values = new float[shape[1] * shape[2]];
            output.asReadOnlyBuffer().order(ByteOrder.nativeOrder()).asFloatBuffer().get(values);
            return new Logits(shape[1], shape[2], values);
        } catch (IllegalArgumentException | IllegalStateException error) {
            samples = -1;
            throw new UserError("LiteRT can't run " + features.length + " samples: " + error.getMessage(), error);
        }
    }

    @Override
    public String description() {
        return "LiteRT on Android";
    }

    @Override
    public int threads() {
        return threads;
    }

    @Override
    public void close() {
        interpreter.close();
    }
}
