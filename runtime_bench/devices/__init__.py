"""Where files run: this machine, an emulated ARM64 one, a phone behind adb, environments of runtimes."""
