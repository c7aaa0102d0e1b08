"""The life cycle of a linked account."""
