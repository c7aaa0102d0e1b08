"""Bulk operations: one module per management command."""
