"""A sizing model: the CPU, network traffic and memory that an exchange needs in gateways, RabbitMQ and Redis.

`python -m bench.scale` calculates the needs of an exchange. `bench.scale.measure` measures the costs for the
model, and `bench.scale.check` compares the model with real gateways and brokers.
"""
