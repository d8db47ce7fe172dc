"""W&B's GraphQL."""
