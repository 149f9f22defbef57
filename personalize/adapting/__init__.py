"""Weights that learn one person's speech before they are rounded: a teacher's text, no transcript."""
