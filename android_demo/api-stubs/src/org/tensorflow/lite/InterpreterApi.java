package org.tensorflow.lite;

/** Signatures only; see android_demo/api-stubs/README.md. */
public interface InterpreterApi extends AutoCloseable {
    /** Settings of an interpreter. */
    class Options {
        public Options() {}

        public Options setNumThreads(int numThreads) {
            throw new UnsupportedOperationException();
        }
    }

    void run(Object input, Object output);

    void allocateTensors();

    void resizeInput(int idx, int[] dims);

    Tensor getOutputTensor(int outputIndex);

    @Override
    void close();
}
