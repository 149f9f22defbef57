"""What each precision of each layer costs one speaker, and which precisions fit a byte budget."""
