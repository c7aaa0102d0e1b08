"""What happens when many workers do the same at the same second: real processes, real databases."""
