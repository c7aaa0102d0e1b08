"""A project of somebody else's, which tests its own views with the kit."""
