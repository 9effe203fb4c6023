"""Reads from RabbitMQ. Knows no client."""
