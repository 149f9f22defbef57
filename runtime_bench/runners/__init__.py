"""Runners, one module per way of running a model, all behind the interface in `base`."""
