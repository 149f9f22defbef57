"""Commands that make the figures of docs/results.md; each writes one JSON file to docs/results/."""
