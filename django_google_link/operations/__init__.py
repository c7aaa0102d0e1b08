"""Work on many rows at a time: one module for each management command."""
