"""Many people: what their models hold, kept once; small changes between files; all of them in one command."""
