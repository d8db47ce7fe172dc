"""One run: its process, its checks, its verdict, its end at W&B."""
