"""The process in which W&B's `sweeps` package works; `sweeps_engine` starts it and asks it."""
