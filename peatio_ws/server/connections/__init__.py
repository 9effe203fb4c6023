"""The life of one connection, from the request to its end."""
