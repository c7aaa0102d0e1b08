"""One pool of connections for the process, under all that this app asks and hands out."""
