"""Scripts that make what the project ships: the default model and the synthetic users."""
