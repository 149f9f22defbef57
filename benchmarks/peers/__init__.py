"""Our files of real Whisper beside what people use instead, on the same clips."""
