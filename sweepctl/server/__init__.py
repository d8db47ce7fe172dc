"""The embedded server: W&B's wire protocol for sweeps and runs, in one process over one folder."""
