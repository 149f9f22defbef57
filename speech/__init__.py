"""Audio in, text out: audio files, data sets, models, decoding and scoring. Knows nothing of quantisation."""
