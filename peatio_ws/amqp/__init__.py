"""Reading from RabbitMQ. Knows no client."""
