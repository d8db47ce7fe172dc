"""What runs send: histories, files, their ends."""
