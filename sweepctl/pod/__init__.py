"""The name under which people's sweep files know the pod code's wrapper."""
