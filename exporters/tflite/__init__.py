"""TFLite files for LiteRT and for tflite-runtime: written from our own graph and read back."""
