"""The OAuth protocol over HTTP, independent of models and requests."""
