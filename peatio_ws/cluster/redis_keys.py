"""Every key and channel that the gateway uses in Redis. docs/operations.md lists them for an ACL.

Pure: names only. Each comment names the module that uses the key.
"""

from __future__ import annotations

from typing import Final

MEMBERS_KEY: Final = "peatio:members"
"""Hash: uid to Peatio's numeric member id. Peatio's side writes it; `redis_member_ids.py` reads it."""
ORDERS_KEY: Final = "peatio_ws:orders"
"""Stream: orders as last seen. `redis_state.py`."""
WRITER_KEY: Final = "peatio_ws:orders:writer"
"""String: the worker that currently writes orders. `redis_state.py`."""
BOOKS_KEY: Final = "peatio_ws:books"
"""Hash: order books that a worker stored when it ended. Channel: requests for books. `redis_books.py`."""
SLOTS_KEY: Final = "peatio_ws:connections:"
"""Prefix of sorted sets: the connections of a member or an address. `redis_limits.py`."""
FAILURES_KEY: Final = "peatio_ws:failures:"
"""Prefix of counters: failed tokens of an address. `redis_limits.py`."""
REVOCATIONS_KEY: Final = "peatio_ws:revocations"
"""Sorted set: revoked tokens, by the time at which they expire. `stored_revocations.py`."""
CANCELLED_KEY: Final = "peatio_ws:revocations:cancelled"
"""Sorted set: revocations that were taken back, by the time at which they would expire. `stored_revocations.py`."""
VERSION_KEY: Final = "peatio_ws:revocations:version"
"""String: changes whenever one of these two sets does. `redis_commands.py`."""
COMMANDS_CHANNEL: Final = "peatio_ws:steering"
"""Channel: an operator's commands to all workers. `redis_commands.py`."""
TRACES_CHANNEL: Final = "peatio_ws:traces"
"""Prefix of channels: what workers report for a trace. `tracing/`."""
PROBE_KEY: Final = "peatio_ws:probe"
"""String that expires at once: whether Redis accepts writes. `redis_connection.py`."""


def books_answers_key(question: str) -> str:
    """Return the name of the hash to which workers write the books that were requested."""
    return f"{BOOKS_KEY}:{question}"


def answers_key(question: str) -> str:
    """Return the name of the list to which workers append their answers to a command."""
    return f"{COMMANDS_CHANNEL}:{question}"


def trace_channel(question: str) -> str:
    """Return the name of the channel on which workers report what a trace shows."""
    return f"{TRACES_CHANNEL}:{question}"
