"""The connection pool of the process, for all requests to Google and other providers."""
