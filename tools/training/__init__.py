"""What the embedded model and the synthetic users are made with."""
