"""What works here, which kernels ran, and for how long."""
