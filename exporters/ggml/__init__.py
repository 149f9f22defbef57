"""whisper.cpp: ggml files of Whisper written and read back, and the library that loads them."""
