"""Connections of clients, from the upgrade request to their end."""
