"""From an exported file and clips to words, times and memory."""
