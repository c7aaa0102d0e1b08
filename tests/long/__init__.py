"""Long tests: CI runs a bounded part of them, and ``make long`` all."""
