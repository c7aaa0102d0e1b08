"""What needs another framework. Each module imports its own, and nothing imports them."""
