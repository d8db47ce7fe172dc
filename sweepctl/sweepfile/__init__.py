"""sweep.yaml: its text to a checked sweep; values files are read by the same document."""
