"""W&B as its clients see it: the connection, one attempt a call, what a run sends."""
