"""The browser: what a user does at the consent page."""
