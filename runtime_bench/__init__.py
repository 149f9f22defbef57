"""Measure exported files on the runtimes that run them: words, latency, memory."""
