"""Core ML packages, alone or in ExecuTorch's delegate: written on Linux and read back."""
