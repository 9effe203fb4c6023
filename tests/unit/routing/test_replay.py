"""What a client that resumes receives, and what is guaranteed to it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest

from peatio_ws.amqp import read_pacing
from peatio_ws.cluster.local_state import RecentOrders
from peatio_ws.concurrency import yielding
from peatio_ws.protocol.encoding import Dialect
from peatio_ws.protocol.exchanges import Delivery
from peatio_ws.routing import replay
from peatio_ws.routing.history import STREAM, Entry, History, Position, ReplayPosition
from peatio_ws.routing.receiver import Receiver
from peatio_ws.routing.replay import Replays, reconnect_reason
from peatio_ws.routing.router import Router
from peatio_ws.transport.outbox import Outbox
from tests.unit.samples import Wire, cursors, on_orderbook, on_ranger, on_trade, router, texts_in

UID = "IDANN"


class Room:
    """A worker's history with orders of one member at some offsets, and its clients."""

    def __init__(self, *offsets: int, has_read_up_to: Callable[[float], bool] = lambda _moment: True) -> None:
        orders = RecentOrders()
        self.history = History(STREAM, 1000, 10**9)
        self.cursors = cursors(self.history)
        own = router(orders.recall, orders.remember, self.cursors)
        self.replays = Replays(self.history, self.cursors, own, has_read_up_to)
        self.replays.caught_up.set()
        for offset in offsets:
            self.add(offset)

    def add(self, offset: int, **fields: str) -> str:
        delivery: Delivery = on_orderbook({"id": offset, **fields}, uid=UID)
        entry = self.history.append(offset, delivery, (UID,), 0.0)
        return self.cursors.at(UID, entry)

    def locate(self, cursor: str | None) -> tuple[ReplayPosition, bool] | None:
        return self.replays.locate(cursor, UID)


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make clients wait for as long as it takes on a slow machine."""
    for name in ("READY_SECONDS", "OLD_SECONDS"):
        monkeypatch.setattr(replay, name, 60.0)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """A context in which a client does not wait after its first attempt."""

    @contextlib.contextmanager
    def wait_for_nothing() -> Iterator[None]:
        with monkeypatch.context() as patched:
            patched.setattr(replay, "READY_SECONDS", 0.0)
            yield

    return wait_for_nothing


def receiver(limit: int = 2**20, takes: Callable[[int], int] = lambda offered: offered) -> tuple[Receiver, Wire]:
    wire = Wire(takes)
    found = Receiver(Outbox(wire, limit, 10.0), Dialect.CLASSIC)  # type: ignore[arg-type]
    found.admit(UID)
    found.resumes = True
    return found, wire


def test_resume_is_incomplete_while_history_is_read_back(impatient: Callable[[], Any]) -> None:
    room = Room(1, 2)
    room.replays.caught_up.clear()
    with impatient():
        assert room.locate(None) is None
        assert room.locate(room.cursors.at(UID)) is None
    gevent.spawn(room.replays.caught_up.set)
    assert room.locate(None) == (ReplayPosition(2, 0), True)


def test_client_waits_for_events_that_another_worker_has_read(impatient: Callable[[], Any]) -> None:
    other, room = Room(1, 2), Room(1, 2, has_read_up_to=lambda _moment: False)
    other.cursors.learn(room.cursors.announce(0.0), 0.0)
    cursor = other.add(3)
    with impatient():
        assert room.locate(cursor) is None, "without an answer of the broker nothing is guaranteed"
    gevent.spawn_later(0.02, room.add, 3)
    assert room.locate(cursor) == (ReplayPosition(3, 0), True)


def test_cursor_ahead_of_all_events_is_of_another_history() -> None:
    asked: list[float] = []
    room = Room(1, 2, has_read_up_to=lambda moment: bool(asked.append(moment)) or len(asked) > 2)
    ahead = room.cursors.seal(Position(STREAM, 100, 0), UID)
    assert room.locate(ahead) == (ReplayPosition(2, 0), False)
    assert len(set(asked)) == 1, "the answer depends on the time at which the client connected"


def test_client_waits_for_a_key_that_another_worker_has_read(impatient: Callable[[], Any]) -> None:
    other, room = Room(1, 2), Room(1, 2, has_read_up_to=lambda _moment: False)
    cursor = other.cursors.at(UID)
    with impatient():
        assert room.locate(cursor) is None, "without an answer of the broker nothing is guaranteed"
    gevent.spawn_later(0.02, room.cursors.learn, other.cursors.announce(0.0), 0.0)
    assert room.locate(cursor) == (ReplayPosition(2, 0), True)


def old(room: Room) -> str:
    cursor = room.add(3)
    room.history.clear(STREAM)
    for offset in (4, 5):
        room.add(offset)
    return cursor


NO_GOOD: dict[str, Callable[[Room], str]] = {
    "made up": lambda _room: "A" * 60,
    "no cursor at all": lambda _room: "x",
    "of another member": lambda room: room.cursors.at("IDBOB"),
    "of another key": lambda _room: cursors().at(UID),
    "of an older gateway": lambda _room: "s.5.00000000",
    "too old": old,
}


@pytest.mark.parametrize("kind", NO_GOOD)
def test_invalid_cursors_have_the_same_answer_and_wait(kind: str) -> None:
    looks: list[float] = []
    room = Room(1, 2, has_read_up_to=lambda moment: bool(looks.append(moment)) or len(looks) > 3)
    located = room.locate(NO_GOOD[kind](room))
    assert located == (room.replays.latest(), False)
    assert len(looks) == 4


def test_old_cursor_waits_less_for_a_silent_broker(
    monkeypatch: pytest.MonkeyPatch, impatient: Callable[[], Any]
) -> None:
    monkeypatch.setattr(replay, "OLD_SECONDS", 0.0)
    room = Room(1, 2, has_read_up_to=lambda _moment: False)
    cursor = old(room)
    assert room.locate(cursor) == (room.replays.latest(), False)
    with impatient():
        assert room.locate(room.cursors.at("IDBOB")) is None, "the cursor's key may still arrive"


def test_events_lost_during_the_wait_make_resume_incomplete() -> None:
    other, room = Room(1, 2), Room(1, 2, has_read_up_to=lambda _moment: False)
    other.cursors.learn(room.cursors.announce(0.0), 0.0)
    cursor = other.add(3)
    gevent.spawn(room.replays.caught_up.clear)
    gevent.spawn_later(0.02, room.add, 3)
    assert room.locate(cursor) is None


@pytest.mark.parametrize(("translates", "ids"), [(False, [7]), (True, [])])
def test_copy_of_a_trade_is_replayed_unless_the_client_received_the_other_copy(
    translates: bool, ids: list[int]
) -> None:
    """With RANGER_CLASSIC_EVENTS=false, a ranger client receives nothing of `peatio.trade`."""
    room, orders = Room(), RecentOrders()
    own = router(orders.recall, orders.remember, room.cursors, translates=translates)
    replays = Replays(room.history, room.cursors, own, lambda _moment: True)
    trade = {"id": 7, "market": "btcusd"}
    room.history.append(1, on_trade(trade, ask_uid=UID, bid_uid="IDBOB"), (UID, "IDBOB"), 0.0)
    room.history.append(2, on_ranger(f"private.{UID}.trade", trade), (UID,), 0.0)
    wire = Wire(lambda offered: offered)
    someone = Receiver(Outbox(wire, 2**20, 10.0), Dialect.RANGER, ["trade"])  # type: ignore[arg-type]
    someone.admit(UID)
    assert replays.run(someone, ReplayPosition(1, 0))
    assert [frame["trade"]["id"] for frame in texts_in(wire.taken)] == ids


def test_state_is_left_out_if_a_later_one_is_sent_while_the_client_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Events by member id are sent late. Those by uid are sent live meanwhile."""
    monkeypatch.setattr(replay, "BATCH", 1)
    accepts, room, settled = 0, Room(), list[bool]()
    someone, wire = receiver(limit=3000, takes=lambda _offered: accepts)

    def add(offset: int, owner: str | int, **order: Any) -> Entry:
        whose = {"uid": owner} if isinstance(owner, str) else {"member_id": owner}
        entry = room.history.append(offset, on_orderbook(order, **whose), (owner,), 0.0)
        assert entry is not None
        return entry

    add(1, 7, id=1, market_id="x" * 1700)
    add(2, 7, id=2, state="wait")
    add(3, 7, id=3, state="wait")
    catching_up = gevent.spawn(
        room.replays.catch_up, someone, 7, ReplayPosition(-1, 0), lambda _number, complete: settled.append(complete)
    )
    with gevent.Timeout(30):
        while not someone.outbox.size:
            gevent.sleep(0)
        live = add(4, UID, id=2, state="done")
        room.replays._router.replay(someone, replay._event_of(live), live)
        someone.outbox.flush()
        accepts = 10_000
        catching_up.get()
        someone.outbox.wait(0)
    orders = [frame["orderbook"] for frame in texts_in(wire.taken)]
    assert [(order["id"], order["state"]) for order in orders] == [(1, None), (2, "done"), (3, "wait")]
    assert settled == [True]


def test_restarted_history_is_not_mistaken_for_the_previous_one() -> None:
    room = Room(1, 2)
    located = room.locate(room.cursors.at(UID))
    assert located is not None
    place, complete = located
    assert complete
    room.history.clear(STREAM)
    room.add(1)
    assert not room.replays.run(receiver()[0], place)


def test_cursor_of_an_earlier_stream_does_not_follow_a_place_in_this_one() -> None:
    room = Room(1000)
    earlier = {offset: room.add(offset) for offset in (1001, 1002, 1003, 2000)}
    room.history.clear(STREAM)  # declared again, and order 1001 was lost
    for offset in (999, 1000, 1002):
        room.add(offset, state="done")
    place = room.replays.latest()
    cursors = {offset: room.add(offset) for offset in (1003, 1004, 1005)}
    for offset, cursor in earlier.items():
        assert room.replays.follows(cursor, UID, place) == (offset == 1003), "only this event is the same in both"
    for offset, cursor in cursors.items():
        assert room.replays.follows(cursor, UID, place)
        room.history.evict(10**6)
        assert room.replays.follows(cursor, UID, place), f"order {offset} was sent, although it has been removed since"


@pytest.mark.parametrize("body", [10, 2000, 40_000])
def test_large_replayed_events_do_not_overflow_the_outbox(body: int) -> None:
    limit = 150_000
    budget, most = 0, 0

    def takes(offered: int) -> int:
        nonlocal budget
        taken, budget = min(offered, budget), max(0, budget - offered)
        return taken

    someone, wire = receiver(limit, takes)
    room = Room()
    for offset in range(1, 200):
        room.add(offset, market_id="x" * body)

    def take() -> None:
        nonlocal budget, most
        while True:
            most = max(most, someone.outbox.size)
            budget = 50_000
            gevent.sleep(0.001)

    taking = gevent.spawn(take)
    assert room.replays.run(someone, ReplayPosition(-1, 0))
    someone.outbox.wait(0)
    taking.kill()
    assert not someone.outbox.closing
    assert [frame["orderbook"]["id"] for frame in texts_in(wire.taken)] == list(range(1, 200))
    assert most <= limit


def test_concurrent_replays_share_one_turn_of_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time passes only while an event is replayed."""
    room, now, hub, seconds = Room(*range(1, 300)), [300.0], gevent.get_hub(), 50e-6
    passed = dict[int, float]()
    replayed = Router.replay

    def replay_slowly(router: Router, *event: Any) -> None:
        replayed(router, *event)
        now[0] += seconds
        passed[hub.loop.iteration] = passed.get(hub.loop.iteration, 0.0) + seconds

    monkeypatch.setattr(read_pacing.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(Router, "replay", replay_slowly)
    clients = [receiver()[0] for _ in range(20)]
    with gevent.Timeout(30):
        gevent.joinall(
            [gevent.spawn(room.replays.run, one, ReplayPosition(-1, 0)) for one in clients], raise_error=True
        )
    assert max(passed.values()) <= yielding.TURN_SECONDS + (replay.BATCH + 1) * seconds


def test_client_is_told_when_to_reconnect() -> None:
    assert {reconnect_reason() for _ in range(100)} == {f"restart; retry after {seconds}" for seconds in (1, 2, 3)}
