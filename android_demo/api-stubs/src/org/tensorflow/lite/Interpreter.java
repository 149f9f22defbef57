package org.tensorflow.lite;

import java.io.File;

/** Signatures only; see android_demo/api-stubs/README.md. */
public final class Interpreter implements InterpreterApi {
    /** Settings of an interpreter. */
    public static class Options extends InterpreterApi.Options {
        public Options() {}

        @Override
        public Options setNumThreads(int numThreads) {
            throw new UnsupportedOperationException();
        }
    }

    public Interpreter(File modelFile, Options options) {
        throw new UnsupportedOperationException();
    }

    @Override
    public void run(Object input, Object output) {
        throw new UnsupportedOperationException();
    }

    @Override
    public void allocateTensors() {
        throw new UnsupportedOperationException();
    }

    @Override
    public void resizeInput(int idx, int[] dims) {
        throw new UnsupportedOperationException();
    }

    @Override
    public Tensor getOutputTensor(int outputIndex) {
        throw new UnsupportedOperationException();
    }

    @Override
    public void close() {
        throw new UnsupportedOperationException();
    }
}
