"""What Google's own client libraries are handed."""
