"""Runtime targets, one module each: the precisions their kernels run, export, and reading back."""
