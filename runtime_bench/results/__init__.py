"""What a benchmark found, whether it can be relied on, and what differs between two."""
