"""Checks the names of hosts. Pure: resolves nothing."""

from __future__ import annotations


def is_host(name: str) -> bool:
    """Return whether the resolver accepts the name or address of a host. For an empty or too long label, as in
    `redis..svc`, it raises UnicodeError, which the clients of servers do not expect."""
    try:
        name.encode("idna")
    except UnicodeError:
        return False
    return True
