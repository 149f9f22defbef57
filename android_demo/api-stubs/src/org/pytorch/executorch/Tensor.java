package org.pytorch.executorch;

import java.nio.FloatBuffer;

/** Signatures only; see android_demo/api-stubs/README.md. */
public abstract class Tensor {
    Tensor() {}

    public static Tensor fromBlob(float[] data, long[] shape) {
        throw new UnsupportedOperationException();
    }

    public static Tensor fromBlob(long[] data, long[] shape) {
        throw new UnsupportedOperationException();
    }

    public static Tensor fromBlob(FloatBuffer data, long[] shape) {
        throw new UnsupportedOperationException();
    }

    public long[] shape() {
        throw new UnsupportedOperationException();
    }

    public float[] getDataAsFloatArray() {
        throw new UnsupportedOperationException();
    }
}
