"""A real Kubernetes on one Linux machine, for the cluster tests: `python -m tests.testbed`."""
