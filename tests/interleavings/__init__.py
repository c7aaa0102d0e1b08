"""Two concurrent operations, in every order of their steps that matters."""
