package org.pytorch.executorch;

/** Signatures only; see android_demo/api-stubs/README.md. */
public class EValue {
    private EValue() {}

    public static EValue from(Tensor tensor) {
        throw new UnsupportedOperationException();
    }

    public Tensor toTensor() {
        throw new UnsupportedOperationException();
    }
}
