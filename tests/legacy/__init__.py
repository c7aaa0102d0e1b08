"""An app from the days of oauth2client."""
