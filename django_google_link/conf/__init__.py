"""The settings, read into typed objects."""
