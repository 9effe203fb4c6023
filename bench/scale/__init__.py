"""How much an exchange needs: a model of the CPU, bytes and memory of gateways, RabbitMQ and Redis.

`python -m bench.scale` answers for an exchange, `bench.scale.measure` measures the costs on which the answer is based,
and `bench.scale.check` compares the model with real gateways and brokers.
"""
