"""Shared state without Redis: each worker keeps its own orders and counts of failed tokens.

`redis_state.py` shares them with other workers.
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
    """A worker's order books, as other workers use them."""

    def export(self) -> Iterable[tuple[str, bytes]]:
        """Return the books that another worker can continue from, by name."""

    def adopt(self, name: str, body: bytes, fresh: bool) -> bool:
        """Continue from another worker's book if it matches the increments received here.

        Args:
            fresh: whether the book is known to be at least as new as the first increment received here.

        Returns:
            False if another copy is needed because this one ends before the increments received here; else True.
        """

    def needs_book(self) -> bool:
        """Return whether a client waits for a book."""


class CommandTarget(Protocol):
    """A worker's clients, as an operator's commands see them."""

    def execute(self, command: Command) -> Iterator[Answer]:
        """Execute a command, and yield the results."""

    def close_revoked(self) -> int:
        """Close the connections whose token is revoked. Return their number."""


class ConnectionSlot:
    """A connection that counts towards a limit across workers.

    Args:
        name: the subject that is counted, for example `member:ID1234567890`.
        limit: maximum number of connections.
        on_excess: called from a background greenlet if there are more.
    """

    __slots__ = ("id", "limit", "name", "on_excess")

    def __init__(self, name: str, limit: int, on_excess: Callable[[], None]) -> None:
        self.name, self.limit, self.on_excess = name, limit, on_excess
        self.id = uuid.uuid4().hex


class MemberIdLookup:
    """A lookup of a member's numeric id, which may be answered much later.

    Attributes:
        known: whether the lookup is answered.
        number: the answer; None if the member has no number.
        on_answer: called with the answer if it arrives after waiting was given up.
    """

    __slots__ = ("_answered", "known", "number", "on_answer", "uid")

    def __init__(self, uid: str) -> None:
        self.uid = uid
        self.known = False
        self.number: int | None = None
        self.on_answer: Callable[[int | None], None] | None = None
        self._answered: gevent.event.Event | None = None

    def answer(self, number: int | None) -> None:
        """Set the answer."""
        self.known, self.number = True, number
        if self._answered is not None:
            self._answered.set()
        elif self.on_answer is not None:
            self.on_answer(number)

    def wait(self, seconds: float) -> None:
        """Wait for the answer, for up to this many seconds or until `stop_waiting`."""
        self._answered = gevent.event.Event()
        try:
            self._answered.wait(seconds)
        finally:
            self._answered = None

    def stop_waiting(self) -> None:
        """End `wait` without an answer."""
        if self._answered is not None:
            self._answered.set()


class RecentOrders:
    """Orders as last seen: at most `ORDERS_KEPT`. The older half is discarded at once."""

    def __init__(self) -> None:
        # Exact LRU order would cost a tenth of all the work on an order.
        self._young: dict[bytes, tuple[Owner, Order | bytes]] = {}
        self._old: dict[bytes, tuple[Owner, Order | bytes]] = {}

    def remember(self, order: Order) -> None:
        """Store the newest state of an order."""
        self._put(order.id.strip(b'"'), (order.owners[0], order))

    def remember_older(self, order_id: bytes, owner: Owner, classic: bytes) -> None:
        """Store an order that another worker saw, unless this worker has seen it too."""
        if order_id not in self._young and order_id not in self._old:
            self._put(order_id, (owner, classic))

    def recall(self, order_id: bytes, owner: Owner) -> bytes | None:
        """Return the order as classic JSON; None if it is unknown or has another owner."""
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
    """State of a worker without Redis; nothing is shared.

    Args:
        revocations: revoked tokens; an operator's commands add to them.
        lockout: counts failed tokens.

    Attributes:
        slot_counts: this worker's connections that count towards a limit, by slot name; see `base_connection.py`.
    """

    def __init__(self, revocations: Revocations, lockout: Lockout) -> None:
        self.orders = RecentOrders()
        self.slot_counts: Counter[str] = Counter()
        self.revocations, self.lockout = revocations, lockout

    @property
    def connected(self) -> bool:
        """Whether Redis answered the last request; False without Redis."""
        return False

    def start(self, books: Books, target: CommandTarget) -> None:
        """Start the background greenlets.

        Args:
            books: this worker's books: other workers may request them, and their answers are added to them.
            target: this worker's clients.
        """

    def wait(self) -> None:
        """Wait until the revoked tokens are known, for up to `START_SECONDS`."""

    def stop(self) -> None:
        """Stop the background greenlets."""

    def remember(self, order: Order) -> None:
        """Store an order for `recall`, in this worker and in others."""
        self.orders.remember(order)

    def recall(self, order_id: bytes, owner: Owner) -> bytes | None:
        """See `RecentOrders.recall`. Never waits."""
        return self.orders.recall(order_id, owner)

    def load(self) -> None:
        """Load the orders that other workers saw. Called when the worker starts to receive from the broker."""

    def ask_books(self) -> None:
        """Request books from other workers. Never waits."""

    def forget_book(self, name: str) -> None:
        """Delete the stored book of this name, which is outdated. Never waits."""

    def claim_slot(self, slot: ConnectionSlot) -> None:
        """Count a connection. `slot.on_excess` is called soon if it exceeds the limit across workers. Never waits."""

    def release_slot(self, slot: ConnectionSlot) -> None:
        """Stop counting a connection. Never waits."""

    def look_up(self, uid: str) -> MemberIdLookup:
        """Look up a member's numeric id. May wait for up to `REDIS_TIMEOUT`.

        Returns:
            The lookup. If Redis is unreachable, slow or refuses, the lookup is not `known` yet. Set its `on_answer`, or
            pass it to `forget_lookup`.
        """
        lookup = MemberIdLookup(uid)
        lookup.answer(None)
        return lookup

    def publish(self, channel: str, message: bytes) -> int | None:
        """Publish a message for operators. Return how many received it; None if that is unknown. May wait."""

    def forget_lookup(self, lookup: MemberIdLookup) -> None:
        """Drop a lookup whose session has ended. Never waits."""


def log_lockout(address: str) -> None:
    """Log that an address was locked out: once per minute of the address, by the worker that reached the limit."""
    log.warning("address locked out after too many failed tokens", address=address)


def open_shared_state(redis_url: str | None, revocations: Revocations, lockout: Lockout) -> SharedState:
    """Return the shared state that `REDIS_URL` selects."""
    if redis_url is None:
        log.info("REDIS_URL is not set; workers share no state")
        return SharedState(revocations, lockout)
    from peatio_ws.cluster.redis_state import RedisSharedState  # loads redis-py, which takes 8 MB

    return RedisSharedState(redis_url, revocations, lockout)
