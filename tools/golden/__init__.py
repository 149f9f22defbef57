"""Vectors that the app's core is held against."""
