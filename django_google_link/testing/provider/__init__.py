"""The server: an OAuth 2.0 and OpenID provider."""
