"""The history stream in RabbitMQ: how a worker prepares it, reads it, and keeps its place in it."""
