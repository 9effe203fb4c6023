"""The member id of an authenticated connection: known at once, found later or never, live or while resuming."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import gevent
import pytest

from peatio_ws.auth.identity import Identity
from peatio_ws.auth.lockout import Lockout
from peatio_ws.auth.revocations import Revocations
from peatio_ws.cluster.local_state import MemberIdLookup, SharedState
from peatio_ws.monitoring.counters import WorkerCounters
from peatio_ws.protocol.connection_state import ConnectionState
from peatio_ws.protocol.encoding import Dialect
from peatio_ws.protocol.exchanges import Delivery
from peatio_ws.routing import replay
from peatio_ws.routing.receiver import Receiver
from peatio_ws.server.connections.member_id import MemberIdResolution, find_again, look_up
from peatio_ws.server.ingest import BrokerIngest
from peatio_ws.transport.outbox import Outbox
from tests.unit.samples import Wire, on_orderbook, settings, texts_in

ANN = Identity(uid="ANN", member_id=None, role="member", expires=100.0)


class Shared(SharedState):
    """Leaves lookups unanswered, and records which are forgotten."""

    def __init__(self) -> None:
        super().__init__(Revocations(0), Lockout(0))
        self.forgotten: list[MemberIdLookup] = []

    def look_up(self, uid: str) -> MemberIdLookup:
        return MemberIdLookup(uid)

    def forget_lookup(self, lookup: MemberIdLookup) -> None:
        self.forgotten.append(lookup)


class Worker:
    """A live worker without a broker, and a connection of the member Ann with member id 7."""

    def __init__(self, **environ: str) -> None:
        self.shared, chosen = Shared(), settings(**environ)
        self.ingest = BrokerIngest(chosen, self.shared, WorkerCounters())
        self.ingest.on_broker("private", True)
        self.router = self.ingest.router
        self.context: Any = SimpleNamespace(
            shared=self.shared,
            settings=chosen,
            router=self.router,
            history=self.ingest.history,
            cursors=self.ingest.cursors,
            replays=self.ingest.replays,
        )
        self.wire = Wire()
        self.receiver = Receiver(Outbox(self.wire, 2**20, 10.0), Dialect.CLASSIC)
        self.found: list[int | None] = []
        self._offset = 0

    def admit(self, identity: Identity = ANN) -> tuple[MemberIdLookup, MemberIdResolution]:
        lookup = look_up(self.context, identity)
        resolution = MemberIdResolution(self.context, self.receiver, lookup, "c1", self.found.append)
        self.receiver.admit(identity.uid)
        resolution.begin()
        return lookup, resolution

    def renew(self, identity: Identity) -> bool:
        return find_again(self.context, self.receiver, identity, "c1", self.found.append)

    def publish(self, number: int, **owner: Any) -> None:
        self._offset += 1
        delivery = on_orderbook({"id": number}, **owner)
        self.ingest.private.on_delivery(Delivery(delivery.exchange, "", delivery.headers, delivery.body, self._offset))
        self.router.batch.flush()

    def received(self) -> list[Any]:
        """Return the number of each order, and `complete` of each resume frame."""
        frames = texts_in(self.wire.taken)
        return [frame["orderbook"]["id"] if "orderbook" in frame else frame["resume"]["complete"] for frame in frames]

    def wait_for(self, received: list[Any]) -> None:
        with gevent.Timeout(20):
            while self.received() != received:
                gevent.sleep(0.001)


@pytest.fixture
def worker() -> Worker:
    return Worker()


def test_a_token_with_a_member_id_needs_no_lookup(worker: Worker) -> None:
    worker.admit(Identity(uid="ANN", member_id=7, role="member", expires=100.0))
    worker.router.go_live(worker.receiver)
    worker.publish(1, member_id=7)
    assert (worker.found, worker.received()) == ([7], [1])
    assert worker.receiver.pending_member_id is None


def test_events_by_uid_do_not_wait_for_the_member_id(worker: Worker) -> None:
    worker.admit()
    worker.router.go_live(worker.receiver)
    worker.publish(1, uid="ANN")
    worker.publish(2, member_id=7)
    assert (worker.found, worker.received()) == ([], [1])


@pytest.mark.parametrize("environ", [{}, {"AMQP_HISTORY": "worker"}])
def test_events_by_member_id_are_sent_once_it_is_found(environ: dict[str, str]) -> None:
    worker = Worker(**environ)
    lookup, _ = worker.admit()
    worker.router.go_live(worker.receiver)
    worker.publish(1, uid="ANN")
    worker.publish(2, member_id=7)
    worker.publish(3, member_id=8)
    lookup.answer(7)
    worker.wait_for([1, 2])
    worker.publish(4, member_id=7)
    assert (worker.found, worker.received()) == ([7], [1, 2, 4])


def test_order_that_changes_while_older_states_are_sent_is_not_set_back(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Peatio publishes an order by member id and by uid."""
    lookup, _ = worker.admit()
    worker.router.go_live(worker.receiver)
    for number in (1, 2):
        worker.publish(number, member_id=7)
    later = iter([1])
    monkeypatch.setattr(replay, "let_others_run", lambda: [worker.publish(number, uid="ANN") for number in later])
    lookup.answer(7)
    worker.wait_for([1, 2])
    assert worker.found == [7]


def test_without_history_only_later_events_by_member_id_are_sent() -> None:
    worker = Worker(AMQP_HISTORY="off")
    lookup, _ = worker.admit()
    worker.router.go_live(worker.receiver)
    worker.publish(1, member_id=7)
    lookup.answer(7)
    worker.publish(2, member_id=7)
    assert worker.received() == [2]


def test_a_member_without_a_member_id_receives_events_by_uid(worker: Worker) -> None:
    lookup, _ = worker.admit()
    worker.router.go_live(worker.receiver)
    lookup.answer(None)
    worker.publish(1, uid="ANN")
    assert (worker.found, worker.received()) == ([None], [1])
    assert worker.receiver.pending_member_id is None


def test_an_answer_before_the_connection_is_live_is_used_then(worker: Worker) -> None:
    lookup, _ = worker.admit()
    lookup.answer(7)
    worker.router.go_live(worker.receiver)
    worker.publish(1, member_id=7)
    assert (worker.found, worker.received()) == ([7], [1])


def test_an_answer_after_the_connection_ended_does_nothing(worker: Worker) -> None:
    lookup, _ = worker.admit()
    worker.router.go_live(worker.receiver)
    worker.router.remove(worker.receiver)
    assert worker.shared.forgotten == [lookup]
    lookup.answer(7)
    gevent.idle()
    worker.publish(1, member_id=7)
    assert (worker.found, worker.received()) == ([], [])


# ---- clients that resume


@pytest.mark.parametrize(("missed", "complete"), [({"uid": "ANN"}, True), ({"member_id": 8}, False)])
def test_resuming_is_complete_unless_an_event_named_a_member_by_id(
    worker: Worker, missed: dict[str, Any], complete: bool
) -> None:
    start = worker.ingest.replays.latest()
    worker.publish(1, **missed)
    _, resolution = worker.admit()
    position, found = resolution.start_from(start, True, None)
    assert found is complete
    assert position == (start if complete else worker.ingest.replays.latest())


def test_connection_with_a_member_id_resumes_from_any_cursor(worker: Worker) -> None:
    start = worker.ingest.replays.latest()
    worker.publish(1, member_id=8)
    _, resolution = worker.admit(Identity(uid="ANN", member_id=7, role="member", expires=100.0))
    assert resolution.start_from(start, True, None) == (start, True)
    assert resolution.start_from(start, False, None) == (start, False)


def test_cursors_stop_while_the_member_id_is_unknown(worker: Worker) -> None:
    worker.publish(0, uid="BOB")
    lookup, resolution = worker.admit()
    worker.receiver.resumes = True
    resolution.start_from(worker.ingest.replays.latest(), True, None)
    worker.router.go_live(worker.receiver)
    for number, owner in ((1, {"uid": "ANN"}), (2, {"member_id": 7}), (3, {"uid": "ANN"})):
        worker.publish(number, **owner)
    assert worker.received() == [1, 3]
    held = worker.ingest.cursors.open(texts_in(worker.wire.taken)[-1]["cursor"], "ANN")
    assert held is not None
    assert held.offset < 3, "a new cursor would skip order 2"
    lookup.answer(7)
    worker.wait_for([1, 3, 2, True])
    assert worker.receiver.held is None
    assert worker.ingest.cursors.open(texts_in(worker.wire.taken)[-1]["resume"]["cursor"], "ANN") == (
        worker.ingest.history.position()
    )


@pytest.mark.parametrize(
    ("owner", "complete"), [({"member_id": 7}, False), ({"member_id": 8}, False), ({"uid": "EVE"}, True)]
)
def test_answer_after_events_by_member_id_were_removed_is_incomplete(
    worker: Worker, owner: dict[str, Any], complete: bool
) -> None:
    """Redis was down for longer than events are kept."""
    lookup, _ = worker.admit()
    worker.receiver.resumes = True
    worker.router.go_live(worker.receiver)
    worker.publish(1, **owner)
    worker.publish(2, uid="BOB")  # the newest event is kept
    worker.ingest.history.evict(time.monotonic() + 10**6)
    lookup.answer(7)
    worker.wait_for([complete])


def test_a_failed_replay_by_member_id_ends_the_connection(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(worker.ingest.replays, "catch_up", fail)
    lookup, _ = worker.admit()
    worker.router.go_live(worker.receiver)
    worker.publish(1, member_id=7)
    lookup.answer(7)
    with gevent.Timeout(20):
        while not worker.wire.ended:
            gevent.sleep(0.001)
    assert worker.receiver.outbox.closing
    assert worker.receiver.state is ConnectionState.LIVE, "the connection's own greenlet has to remove it"


# ---- newer tokens

NUMBERED = Identity(uid="ANN", member_id=7, role="member", expires=200.0)


def test_newer_token_brings_a_live_client_its_member_id(worker: Worker) -> None:
    lookup, _ = worker.admit()
    worker.router.go_live(worker.receiver)
    lookup.answer(None)
    worker.publish(1, member_id=7)
    assert worker.renew(NUMBERED)
    worker.publish(2, member_id=7)
    assert (worker.found, worker.received()) == ([None, 7], [2])
    worker.router.remove(worker.receiver)
    assert not len(worker.router)


def test_newer_token_answers_a_pending_lookup(worker: Worker) -> None:
    lookup, _ = worker.admit()
    worker.router.go_live(worker.receiver)
    worker.publish(1, member_id=7)
    assert not worker.renew(ANN), "the first lookup goes on"
    assert not worker.renew(NUMBERED)
    worker.wait_for([1])
    worker.publish(2, member_id=7)
    assert (worker.shared.forgotten, worker.found, worker.received()) == ([lookup], [7], [1, 2])


def test_newer_token_starts_another_lookup_and_misses_nothing_since(worker: Worker) -> None:
    lookup, _ = worker.admit()
    worker.receiver.resumes = True
    worker.router.go_live(worker.receiver)
    lookup.answer(None)
    worker.publish(1, member_id=7)
    lookups: list[MemberIdLookup] = []

    def look_up_later(uid: str) -> MemberIdLookup:
        lookups.append(MemberIdLookup(uid))
        return lookups[-1]

    worker.shared.look_up = look_up_later  # type: ignore[method-assign]
    assert worker.renew(ANN)
    worker.publish(2, member_id=7)
    worker.publish(3, uid="ANN")
    lookups[0].answer(7)
    worker.wait_for([3, 2, True])


def test_member_without_a_member_id_stays_without_one(worker: Worker) -> None:
    lookup, _ = worker.admit()
    worker.router.go_live(worker.receiver)
    lookup.answer(None)
    lookup.known = True
    worker.shared.look_up = lambda _uid: lookup  # type: ignore[method-assign]
    assert not worker.renew(ANN)
    assert worker.receiver.pending_member_id is None
