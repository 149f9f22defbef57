"""Fit a speech recogniser to one person's phone: label-free mixed precision under a byte budget."""
