package org.tensorflow.lite;

import java.nio.ByteBuffer;

/** Signatures only; see android_demo/api-stubs/README.md. */
public interface Tensor {
    int[] shape();

    ByteBuffer asReadOnlyBuffer();
}
