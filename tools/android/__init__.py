"""The phone app without a phone: compiled, linted, drawn."""
