"""What we need of Kubernetes, over the official client."""
