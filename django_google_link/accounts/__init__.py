"""What happens to a linked account."""
