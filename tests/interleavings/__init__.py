"""Two operations at once, in every order that matters."""
