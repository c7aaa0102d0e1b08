"""The protocol over HTTP: it knows no row and no request."""
