package org.pytorch.executorch;

/** Signatures only; see android_demo/api-stubs/README.md. */
public class Module {
    public static final int LOAD_MODE_MMAP = 1;

    private Module() {}

    public static Module load(String modelPath, int loadMode, int numThreads) {
        throw new UnsupportedOperationException();
    }

    public EValue[] forward(EValue... inputs) {
        throw new UnsupportedOperationException();
    }

    public EValue[] execute(String methodName, EValue... inputs) {
        throw new UnsupportedOperationException();
    }

    public String[] getMethods() {
        throw new UnsupportedOperationException();
    }

    public void destroy() {
        throw new UnsupportedOperationException();
    }
}
