"""Compares the speed of this package with that of others and with a minimal baseline."""
