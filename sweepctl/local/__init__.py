"""A sweep on this machine."""
