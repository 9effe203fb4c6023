"""Which streams a client may subscribe to: the same rules for Peatio's connections and for those of handlers.

Pure. Knows no connection. The meaning of a stream's name is in `stream_syntax.py`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from peatio_ws.auth.identity import Identity
from peatio_ws.protocol.stream_name_limit import StreamNameLimit
from peatio_ws.protocol.stream_syntax import Kind, Roles, is_permitted, kind_of
from peatio_ws.protocol.view_names import is_view, view_of


class Denial(enum.Enum):
    """Why a client may not subscribe to a stream. The value is for the client, behind "cannot subscribe to …"."""

    ANONYMOUS = ": not authenticated"
    FORBIDDEN = ""
    """Not the name of a stream or view, or a prefixed stream that the client's role does not allow. The answer does not
    say which."""
    NO_ROOM = ": this server has no room for more names"


@dataclass(frozen=True, slots=True)
class SubscriptionRules:
    """The rules of one worker.

    Attributes:
        roles: the roles that may subscribe to prefixed streams.
        most: the limit of streams for a connection.
        names: limits the number of different names at the worker; None without a limit.
    """

    roles: Roles = field(default_factory=dict)
    most: int = 200
    names: StreamNameLimit | None = None

    def is_room(self, held: int, new: int) -> bool:
        """Return whether a connection that has `held` streams may have `new` more."""
        return held + new <= self.most

    def check(self, name: str, identity: Identity | None, held: int) -> str | Denial:
        """Decide on one stream. Return its name, as one object for all connections, or why it is denied.

        Args:
            held: the number of streams that the connection has.
        """
        kind = kind_of(name)
        if kind is Kind.PRIVATE and identity is None:
            return Denial.ANONYMOUS
        if kind is None or not self.is_permitted(name, identity) or (is_view(name) and view_of(name) is None):
            return Denial.FORBIDDEN
        if self.names is None:
            return name
        kept = self.names.claim(name, held)
        return Denial.NO_ROOM if kept is None else kept

    def is_permitted(self, name: str, identity: Identity | None) -> bool:
        """Return whether the client's role allows the stream. Only prefixed streams need a role."""
        if kind_of(name) is not Kind.PREFIXED:
            return True
        return identity is not None and is_permitted(name, identity.role, self.roles)
