"""Credentials and clients for Google's own libraries."""
