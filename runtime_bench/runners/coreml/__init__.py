"""Core ML programs in torch, from the file's own bytes, as macOS isn't here."""
