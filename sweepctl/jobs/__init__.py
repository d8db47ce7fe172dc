"""A sweep in a cluster: submitted, watched, changed."""
