"""The search of the embedded server and of `preview`: pure."""
