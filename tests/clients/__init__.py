"""Clients of Google's APIs that others have written, with our credentials."""
