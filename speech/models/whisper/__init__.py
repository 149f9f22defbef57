"""Whisper: the network, its vocabulary, and the kinds of files that its weights come in."""
