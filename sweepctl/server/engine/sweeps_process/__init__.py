"""The process in which W&B's `sweeps` package works; `search_engine` starts it and asks it."""
