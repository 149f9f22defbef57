"""docs/results.md and the README's table from docs/results/*.json."""
