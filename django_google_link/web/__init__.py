"""Everything below the views that uses requests or sessions."""
