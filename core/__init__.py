"""What every room stands on: errors, files and records, FlatBuffers. Knows nothing of speech."""
