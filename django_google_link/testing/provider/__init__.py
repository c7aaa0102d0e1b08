"""The server of the fake Google: an OAuth 2.0 and OpenID Connect provider."""
