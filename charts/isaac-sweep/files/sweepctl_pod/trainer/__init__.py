"""What is known of trainers: their commands, their settings, their interpreter, their ends."""
