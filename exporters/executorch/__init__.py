"""ExecuTorch's files, with XNNPACK or without a delegate: written and read back."""
