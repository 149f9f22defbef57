"""One process for each system: a clip in, its text and time out, its peak memory at the end."""
