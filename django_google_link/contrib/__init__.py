"""Integrations with other packages. Each module imports its own, and nothing imports them."""
