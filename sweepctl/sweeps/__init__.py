"""A sweep, wherever it lives: at W&B, on this machine, in a cluster's server."""
