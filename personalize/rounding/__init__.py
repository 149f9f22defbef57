"""Codes, scales and ranges, and what the kernels compute with them."""
