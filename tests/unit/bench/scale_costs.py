"""Costs for tests of the model: all are 0 except those that a test names."""

from __future__ import annotations

from bench.scale.costs import Costs

_SINGLE = """
    worker_second master_second connection_second increment connect connect_tls
    deliver_private deliver_private_tls
    deliver_kilobyte deliver_kilobyte_tls
    node_second node_worker_second cluster_node_second
    redis_second redis_worker_second redis_connection_second redis_order redis_lease_second redis_write_second
    publish_private_bytes publish_public_bytes stream_bytes queue_bytes private_bytes public_bytes
    private_tls_bytes public_tls_bytes order_bytes redis_worker_bytes redis_connection_bytes
    worker_memory master_memory connection_memory connection_tls_memory node_memory node_worker_memory
    redis_memory redis_connection_memory
""".split()
_AT_RATES = """
    read_private read_public order_write publish_private publish_public stream queue
    deliver_public deliver_public_tls first_private other_private first_public other_public
    between_private_bytes between_public_bytes
""".split()


def costs(**values: float) -> Costs:
    """Return costs with these values, in microseconds or bytes, at every rate."""
    named = dict.fromkeys(_SINGLE, 0.0) | {f"{name}@100": 0.0 for name in _AT_RATES}
    for name, value in values.items():
        named[name if name in named else f"{name}@100"] = value
    return Costs(named)
