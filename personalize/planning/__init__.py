"""Which precision each layer gets, within a budget of bytes: arithmetic on costs and sizes, no torch."""
