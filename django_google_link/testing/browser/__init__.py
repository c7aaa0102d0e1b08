"""A browser and its user, at the consent page."""
