package org.tensorflow.lite;

/** Signatures only; see android_demo/api-stubs/README.md. */
public interface Tensor {
    int[] shape();
}
