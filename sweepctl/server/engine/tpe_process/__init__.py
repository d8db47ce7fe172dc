"""The process of the server's own engine for `bayes`."""
