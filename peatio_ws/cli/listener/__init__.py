"""The client of `listen`."""
