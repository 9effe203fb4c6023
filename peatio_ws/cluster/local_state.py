"""What workers share, as a worker on its own has it: orders as last seen, tokens that failed, and nobody to ask.

`redis_state.py` is the same with others.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Final, Protocol

import gevent.event
import structlog

from peatio_ws.auth.lockout import Lockout
from peatio_ws.auth.revocations import Revocations
from peatio_ws.cluster.commands import Answer, Command
from peatio_ws.protocol.message_fields import Owner
from peatio_ws.protocol.private_events.order import Order, classic_order

log = structlog.get_logger("peatio_ws.cluster.local_state")

ORDERS_KEPT: Final = 20_000


class Books(Protocol):
    """A worker's order books, as far as they are shared."""

    def export(self) -> Iterable[tuple[str, bytes]]:
        """Those that another worker can go on from, by name."""

    def adopt(self, name: str, body: bytes, fresh: bool) -> bool:
        """Go on from another worker's book, if it fits to what was heard here.

        Args:
            fresh: whether it is known to be no older than what this worker heard first.

        Returns:
            Whether that is settled; False where another is needed, because it does not reach what was heard here.
        """

    def needs_book(self) -> bool:
        """Whether somebody waits for one."""


class CommandTarget(Protocol):
    """A worker's clients, as far as an operator steers them."""

    def execute(self, command: Command) -> Iterator[Answer]:
        """Do it, and say what was done."""

    def close_revoked(self) -> int:
        """Close the connections whose token is revoked by now; how many there were."""


class ConnectionSlot:
    """A connection that counts towards a limit across workers.

    Args:
        name: what is counted, for example `member:ID1234567890`.
        limit: how many there may be.
        on_excess: called, from a background greenlet, if there are more.
    """

    __slots__ = ("id", "limit", "name", "on_excess")

    def __init__(self, name: str, limit: int, on_excess: Callable[[], None]) -> None:
        self.name, self.limit, self.on_excess = name, limit, on_excess
        self.id = uuid.uuid4().hex


class MemberIdLookup:
    """A question for a member's numeric id, which may be answered much later.

    Attributes:
        known: whether it is answered.
        number: the answer; None if the member has no number.
        on_answer: is called with an answer that comes when nobody waits for it any more.
    """

    __slots__ = ("_answered", "known", "number", "on_answer", "uid")

    def __init__(self, uid: str) -> None:
        self.uid = uid
        self.known = False
        self.number: int | None = None
        self.on_answer: Callable[[int | None], None] | None = None
        self._answered: gevent.event.Event | None = None

    def answer(self, number: int | None) -> None:
        """Settle it."""
        self.known, self.number = True, number
        if self._answered is not None:
            self._answered.set()
        elif self.on_answer is not None:
            self.on_answer(number)

    def wait(self, seconds: float) -> None:
        """Until it is answered, or given up for now."""
        self._answered = gevent.event.Event()
        try:
            self._answered.wait(seconds)
        finally:
            self._answered = None

    def stop_waiting(self) -> None:
        """Nobody shall wait for it for now."""
        if self._answered is not None:
            self._answered.set()


class RecentOrders:
    """Orders as last seen: at most `ORDERS_KEPT`, of which the older half is forgotten together."""

    def __init__(self) -> None:
        # To know at each order which was seen longest ago costs a tenth of all that is done about an order.
        self._young: dict[bytes, tuple[Owner, Order | bytes]] = {}
        self._old: dict[bytes, tuple[Owner, Order | bytes]] = {}

    def remember(self, order: Order) -> None:
        """Keep this state of the order instead of an earlier one."""
        self._put(order.id.strip(b'"'), (order.owners[0], order))

    def remember_older(self, order_id: bytes, owner: Owner, classic: bytes) -> None:
        """Keep what another worker saw, unless this one has seen the order itself."""
        if order_id not in self._young and order_id not in self._old:
            self._put(order_id, (owner, classic))

    def recall(self, order_id: bytes, owner: Owner) -> bytes | None:
        """The order as classic JSON; None if it was not seen, or seen as somebody else's."""
        key = order_id.strip(b'"')
        seen = self._young.get(key) or self._old.get(key)
        if seen is None:
            return None
        seen_owner, order = seen
        if type(seen_owner) is type(owner) and seen_owner != owner:
            return None
        return classic_order(order) if isinstance(order, Order) else order

    def _put(self, key: bytes, value: tuple[Owner, Order | bytes]) -> None:
        self._young[key] = value
        if len(self._young) >= ORDERS_KEPT // 2:
            self._young, self._old = {}, self._young


class SharedState:
    """Without Redis: each worker for itself.

    Args:
        revocations: tokens that are refused; an operator's word is added to them.
        lockout: counts tokens that fail.

    Attributes:
        slot_counts: connections of this worker that count towards a limit, by its name; see `base_connection.py`.
    """

    def __init__(self, revocations: Revocations, lockout: Lockout) -> None:
        self.orders = RecentOrders()
        self.slot_counts: Counter[str] = Counter()
        self.revocations, self.lockout = revocations, lockout

    @property
    def connected(self) -> bool:
        """Whether Redis answered when it was asked last; False where there is none."""
        return False

    def start(self, books: Books, target: CommandTarget) -> None:
        """Begin what runs in the background.

        Args:
            books: of this worker; others may ask for them, and their answers are put in.
            target: its clients.
        """

    def wait(self) -> None:
        """Until it is known which tokens are revoked, for `START_SECONDS` at most."""

    def stop(self) -> None:
        """End it."""

    def remember(self, order: Order) -> None:
        """Keep an order for `recall`, here and for other workers."""
        self.orders.remember(order)

    def recall(self, order_id: bytes, owner: Owner) -> bytes | None:
        """See `RecentOrders.recall`. Never waits."""
        return self.orders.recall(order_id, owner)

    def load(self) -> None:
        """Fetch what other workers have seen; called when the worker begins to hear the broker."""

    def ask_books(self) -> None:
        """Ask other workers for their books. Never waits."""

    def forget_book(self, name: str) -> None:
        """The book that a worker left behind under this name is of no use any more. Never waits."""

    def claim_slot(self, slot: ConnectionSlot) -> None:
        """Count a connection; if it is one too many across workers, `slot.on_excess` is called soon. Never waits."""

    def release_slot(self, slot: ConnectionSlot) -> None:
        """Count it no more. Never waits."""

    def look_up(self, uid: str) -> MemberIdLookup:
        """Look up a member's numeric id. May wait, for `REDIS_TIMEOUT` at most.

        Returns:
            The lookup. If it is not `known` yet because Redis is away, slow or refuses, it will be: set its
            `on_answer`, or give it to `forget_lookup`.
        """
        lookup = MemberIdLookup(uid)
        lookup.answer(None)
        return lookup

    def forget_lookup(self, lookup: MemberIdLookup) -> None:
        """Its session has ended. Never waits."""


def log_lockout(address: str) -> None:
    """Log that an address has reached its limit: once in its minute, by the worker at which it was reached."""
    log.warning("too many tokens from an address failed; for a while none of it is looked at", address=address)
