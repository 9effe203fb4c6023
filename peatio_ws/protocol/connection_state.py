"""The life cycle of a client's connection, as a table. Pure.

Theory of operation:

- A connection begins OPEN. A client that neither authenticates nor subscribes in time is disconnected.
- The first valid token makes it ADMITTING: the worker prepares for the member's events. The client receives none of
  them before the answer to its token.
- Without resuming the connection is LIVE after that answer. A client that resumes is PENDING first: the events that it
  missed are guaranteed, but it may have no private stream yet to receive them on. Only REPLAYING or the end leaves
  PENDING. Whatever else the client sends meanwhile, no guaranteed event is skipped.
- Closing is not a state here. In any state the close frame can be in the outbox; `Outbox.closing` holds its code. The
  connection is ENDED when it has left the router.

Both kinds of connections have this life cycle. A handler's connection does not resume, so it is never PENDING or
REPLAYING. A connection's `Receiver` holds its state (`routing/receiver.py`), and nothing else does.
"""

from __future__ import annotations

import enum
from typing import Final

from peatio_ws.life_cycle import LifeCycle


class ConnectionState(enum.Enum):
    """How far a connection is."""

    OPEN = "neither authenticated nor subscribed"
    PUBLIC = "anonymous; receives public streams"
    ADMITTING = "authenticated; the worker prepares for its member's events"
    PENDING = "the events that it missed are guaranteed; it has no private stream for them yet"
    REPLAYING = "receives the private events that it missed"
    LIVE = "receives its member's events as they happen"
    ENDED = "has left the router"


class ConnectionInput(enum.Enum):
    """What happens to a connection."""

    SUBSCRIBE = "the client subscribes to a stream"
    ADMIT = "the first valid token"
    RESUME = "the client resumes, and the gateway has found its place in history"
    REPLAY = "the client is ready for the events that it missed"
    GO_LIVE = "the router registers the connection for its member's events"
    END = "the connection has left the router"


_State, _Input = ConnectionState, ConnectionInput

CONNECTION: Final = LifeCycle(
    {
        (_State.OPEN, _Input.SUBSCRIBE): _State.PUBLIC,
        (_State.OPEN, _Input.ADMIT): _State.ADMITTING,
        (_State.OPEN, _Input.END): _State.ENDED,
        (_State.PUBLIC, _Input.SUBSCRIBE): _State.PUBLIC,
        (_State.PUBLIC, _Input.ADMIT): _State.ADMITTING,
        (_State.PUBLIC, _Input.END): _State.ENDED,
        (_State.ADMITTING, _Input.SUBSCRIBE): _State.ADMITTING,
        (_State.ADMITTING, _Input.RESUME): _State.PENDING,
        (_State.ADMITTING, _Input.GO_LIVE): _State.LIVE,
        (_State.ADMITTING, _Input.END): _State.ENDED,
        (_State.PENDING, _Input.SUBSCRIBE): _State.PENDING,
        (_State.PENDING, _Input.RESUME): _State.PENDING,
        (_State.PENDING, _Input.REPLAY): _State.REPLAYING,
        (_State.PENDING, _Input.END): _State.ENDED,
        (_State.REPLAYING, _Input.GO_LIVE): _State.LIVE,
        (_State.REPLAYING, _Input.END): _State.ENDED,
        (_State.LIVE, _Input.SUBSCRIBE): _State.LIVE,
        (_State.LIVE, _Input.RESUME): _State.LIVE,
        (_State.LIVE, _Input.END): _State.ENDED,
    }
)
"""The next state. A pair that is missing cannot happen."""

NOT_ADMITTED: Final = frozenset({_State.OPEN, _State.PUBLIC})
"""The states before `ADMIT`."""

HANDLER_INPUTS: Final = frozenset({_Input.SUBSCRIBE, _Input.ADMIT, _Input.GO_LIVE, _Input.END})
"""The inputs that a handler's connection has."""
