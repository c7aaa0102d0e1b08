"""Tokens at rest."""
