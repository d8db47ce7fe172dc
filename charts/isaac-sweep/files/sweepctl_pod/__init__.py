"""All that runs in a pod. The standard library alone, and nothing outside this folder."""
