"""What each precision of each layer would do to one speaker's posteriors, without labels."""
