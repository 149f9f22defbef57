"""Exported files: parity, size, time and memory."""
