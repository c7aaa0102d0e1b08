"""What sees a request or a session."""
