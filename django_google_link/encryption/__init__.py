"""Tokens at rest, sealed."""
