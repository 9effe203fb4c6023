"""What the Python clients do over several connections, against a gateway that follows a script."""

from __future__ import annotations

import contextlib
import json
import math
import threading
from collections.abc import Iterable
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from peatio_client import Event, NoToken, Refused, Resumed, _course
from peatio_client._commands import AskToken, Command, Emit, Open, Receive, Send, Shut, Speak, Tell, Wait
from peatio_client._course import Course
from peatio_client._endings import Ended, Pauses
from peatio_client._shelf import Shelf
from peatio_client._wire import AFTER_REPLAY, Route
from peatio_client.books import Book, View

from tests.unit.client.test_tokens import token

URL = "ws://gateway.example/"
AUTHENTICATED = {
    "success": {"message": "subscribed", "streams": ["order", "trade"]},
    "resume": {"cursor": "c0", "complete": True},
}
RENEWED = {"success": {"message": "Authenticated."}}
REFUSED = {"error": {"message": "Authentication failed."}}
SUBSCRIBED = {"success": {"message": "subscribed", "streams": []}}


class Followed:
    """A course that is followed to the end of a script.

    Args:
        script: frames in turn, as JSON if they are bytes; a number lets that many seconds pass, an `Ended` ends the
            connection, a function is called. After the last of them the client is closed.
        tokens: given in turn, the last one for ever; an exception is raised.

    Attributes:
        said: what the gateway was sent.
        shown: the tokens that the gateway was sent.
        told: what callbacks were called with.
    """

    def __init__(self, course: Course, script: Iterable[Any], tokens: Iterable[Any] = ("first",)) -> None:
        self.said, self.callbacks, self.pauses = list[Any](), list[tuple[str, Any]](), list[float]()
        self.shown = list[str]()
        self.opened: list[Open] = []
        self.events: list[Event] = []
        self._course, self._script, self._tokens = course, list(script), list(tokens)
        course._clock = course._wall = lambda: self.now
        self.now, self.received = 1_000_000.0, 0
        running = course.run()
        command = running.send(None)
        with contextlib.suppress(StopIteration):
            while True:
                command = self._answer(running, command)

    def _answer(self, running: Any, command: Command) -> Any:
        try:
            result = self._do(command)
        except Exception as error:
            return running.throw(error)
        return running.send(result)

    def _do(self, command: Command) -> Any:
        match command:
            case AskToken():
                given = self._tokens.pop(0) if len(self._tokens) > 1 else self._tokens[0]
                if isinstance(given, Exception):
                    raise given
                return given
            case Open():
                self.opened.append(command)
                if "Authorization" in command.headers:
                    self.shown.append(command.headers["Authorization"].removeprefix("Bearer "))
                if self._script and isinstance(self._script[0], Ended) and self._script[0].code < 1000:
                    raise self._script.pop(0)
            case Receive(seconds):
                return self._receive(seconds)
            case Send(text):
                self.said.append(json.loads(text))
                if "jwt" in self.said[-1]:
                    self.shown.append(self.said[-1]["jwt"].removeprefix("Bearer "))
            case Wait(seconds):
                self.pauses.append(seconds)
            case Tell(name, what):
                self.callbacks.append((name, what))
            case Emit(event):
                self.events.append(event)
            case Speak():
                self.speak()
            case Shut():
                pass
        return None

    def speak(self) -> None:
        """What a client sends about streams right now."""
        while (text := self._course.next_message()[0]) is not None:
            self.said.append(json.loads(text))

    def _receive(self, seconds: float) -> str | None:
        assert 0 <= seconds <= threading.TIMEOUT_MAX
        self.received += 1
        if not self._script:
            self._course.close()
            return None
        word = self._script[0]
        if isinstance(word, int | float):
            step = min(word, seconds)
            self.now += step
            self._script[0] -= step
            if self._script[0] <= 0:
                self._script.pop(0)
            return None
        self._script.pop(0)
        if isinstance(word, Ended):
            raise word
        if callable(word):
            word(self)
            return None
        return word.decode() if isinstance(word, bytes) else json.dumps(word)

    def all(self, name: str) -> list[Any]:
        return [what for callbacks, what in self.callbacks if callbacks == name]


def course(url: str = URL, streams: tuple[str, ...] = (), with_token: bool = True) -> Course:
    return Course(Route(url, streams, with_token), with_token, None)


def test_an_event_counts_once_the_next_one_is_asked_for() -> None:
    followed = course()
    running = followed.run()
    for answer in (None, "token", None):
        command = running.send(answer)
    for frame in (AUTHENTICATED, {"trade": {"id": 1}, "cursor": "c1"}):
        assert isinstance(command, Receive)
        command = running.send(json.dumps(frame))
        while not isinstance(command, Receive | Emit):
            command = running.send(None)
    assert isinstance(command, Emit)
    assert followed.cursor == "c0"
    running.send(None)
    assert followed.cursor == "c1"


def test_it_resumes_with_the_last_cursor() -> None:
    followed = Followed(course(), [AUTHENTICATED, {"order": {}, "cursor": "c1"}, Ended(1006, ""), AUTHENTICATED])
    assert ["resume=1" in followed.opened[0].address, "resume=c1" in followed.opened[1].address] == [True, True]
    assert followed.all("gap") == []


def test_gap_notice_precedes_its_cursor() -> None:
    followed = course()
    answer = {**AUTHENTICATED, "resume": {"cursor": "new", "complete": False}}
    assert Followed(followed, [answer]).all("gap") == ["new"]
    assert followed.cursor == "new"


REPLAYED = {"success": {"message": "unsubscribed", "streams": ["order", "trade"]}, "echo": AFTER_REPLAY}
INCOMPLETE = {"resume": {"cursor": "new", "complete": False}}


def test_end_of_a_replay_is_told_with_its_completeness() -> None:
    missed = {"order": {"id": 2}, "cursor": "c1"}
    script = [AUTHENTICATED, Ended(1006, ""), AUTHENTICATED, missed, REPLAYED, {"order": {"id": 3}, "cursor": "c2"}]
    followed = Followed(course(), script)
    told = [name for name, _ in followed.callbacks]
    assert told == "connected disconnected connected order event resumed order event".split()
    assert followed.all("resumed") == [Resumed(complete=True)]
    assert followed.said == [{"event": "unsubscribe", "streams": [], "echo": AFTER_REPLAY}]


@pytest.mark.parametrize("script", [[{**AUTHENTICATED, **INCOMPLETE}, REPLAYED], [AUTHENTICATED, INCOMPLETE, REPLAYED]])
def test_replay_with_a_gap_ends_incomplete_after_the_gap(script: list[Any]) -> None:
    followed = Followed(course(), [AUTHENTICATED, Ended(1006, ""), *script])
    assert [name for name, _ in followed.callbacks][2:] == ["connected", "gap", "resumed"]
    assert followed.all("resumed") == [Resumed(complete=False)]


def test_resumed_is_called_if_the_address_has_no_room_for_all_streams() -> None:
    trades = tuple(f"market{number:03}.trades" for number in range(100))
    live = {
        "success": {"message": "subscribed", "streams": [*trades, "order"]},
        "resume": {"cursor": "c1", "complete": True},
    }
    script = [
        {**live, "marks": dict.fromkeys(trades, "m" * 16)},
        Ended(1006, ""),
        live,
        {"success": {"message": "unsubscribed", "streams": ["order"]}, "echo": AFTER_REPLAY},
    ]
    run = Followed(course(streams=(*trades, "order")), script)
    streams = [parse_qs(urlsplit(address).query)["stream"] for address, _ in run.opened]
    assert [len(names) < 101 for names in streams] == [False, True], "the marks need room, too"
    assert "order" in streams[1]
    assert run.all("resumed") == [Resumed(True)]


def test_connection_that_ends_during_the_replay_is_not_resumed() -> None:
    followed = Followed(
        course(), [AUTHENTICATED, Ended(1006, ""), AUTHENTICATED, Ended(1006, ""), AUTHENTICATED, REPLAYED]
    )
    assert followed.all("resumed") == [Resumed(complete=True)]


def test_a_gateway_that_knows_no_resuming_promises_nothing() -> None:
    assert Followed(course(), [SUBSCRIBED]).all("gap") == [None]


def test_a_fresh_token_is_shown_on_the_open_connection() -> None:
    first, second = token(exp=1_000_100), token(exp=1_000_200)
    followed = Followed(course(), [AUTHENTICATED, 80, RENEWED, 20, 60], [first, second, second])
    assert followed.shown == [first, second]
    assert len(followed.opened) == 1
    assert followed.all("error") == []


def test_a_token_may_be_good_for_ever() -> None:
    assert Followed(course(), [AUTHENTICATED, 10**6], [token(exp=1e300)]).said == []


def test_what_gives_tokens_may_fail_now_and_then() -> None:
    first, second = token(exp=1_000_100), token(exp=1_000_200)
    followed = Followed(course(), [AUTHENTICATED, 99], [first, NoToken("away"), first, second])
    assert followed.shown == [first, second]
    assert followed.all("error") == ["no token: away"]


def test_fresh_tokens_that_are_refused_are_shown_three_times_at_most() -> None:
    tokens = [token(exp=1_000_100, jti=number) for number in range(9)]
    script = [AUTHENTICATED, 75, REFUSED, 12.5, REFUSED, 6.25, REFUSED, 1000, Ended(4401, "token expired")]
    with pytest.raises(Refused, match="after 2 others"):
        Followed(course(), script, tokens)


def test_streams_of_a_running_client_come_again_after_it() -> None:
    followed = course(f"{URL}public", with_token=False)
    followed.subscribe(("btcusd.trades",))
    assert followed.next_message() == (None, math.inf), "it goes along with the connection"
    run = Followed(followed, [SUBSCRIBED, Ended(1006, ""), SUBSCRIBED])
    assert all("stream=btcusd.trades" in address for address, _ in run.opened)
    assert run.said == []


def test_a_member_who_names_no_stream_gets_orders_and_trades() -> None:
    followed = course()
    followed.subscribe(("btcusd.trades",))
    run = Followed(followed, [AUTHENTICATED])
    assert run.opened[0].address == f"{URL}?stream=order&stream=trade&stream=btcusd.trades&resume=1&marks=1"
    assert run.said == []


def test_what_is_subscribed_while_it_connects_is_not_forgotten() -> None:
    followed = course(streams=("order",))
    running = followed.run()
    for answer in (None, "token", None):
        running.send(answer)
    followed.subscribe(("btcusd.trades",))
    assert followed.next_message() == (None, math.inf)
    command = running.send(json.dumps(SUBSCRIBED))
    while not isinstance(command, Speak):
        command = running.send(None)
    assert followed.next_message() == ('{"event": "subscribe", "streams": ["btcusd.trades"], "after": {}}', 0)
    followed.unsubscribe(("order",))
    assert followed.next_message() == ('{"event": "unsubscribe", "streams": ["order"]}', 0)
    assert followed.next_message() == (None, math.inf)


SNAP = {"btcusd.ob-snap": {"asks": [["2", "1"]], "sequence": 1}}


def inc(number: int) -> dict[str, Any]:
    return {"btcusd.ob-inc": {"asks": ["2", str(number)], "sequence": number}}


def test_hole_in_a_book_is_reported_and_requests_a_snapshot() -> None:
    followed = course(f"{URL}public", with_token=False)
    book = followed.book("btcusd")
    run = Followed(followed, [SNAP, SUBSCRIBED, inc(2), inc(4), inc(5), 0.5, SNAP, inc(2), 5.0, SNAP])
    assert run.said == [
        {"event": "unsubscribe", "streams": ["btcusd.ob-inc"]},
        {"event": "subscribe", "streams": ["btcusd.ob-inc"]},
    ]
    assert run.all("stale") == [book, book], "by the hole, and by the end"
    assert len(run.all("book")) == 5


def test_a_book_of_a_stream_that_is_subscribed_to_already_is_asked_for() -> None:
    followed = course(streams=("btcusd.ob-inc",), with_token=False)
    book = followed.book("btcusd")
    assert Followed(followed, [SNAP, SUBSCRIBED]).said == [], "it came by itself"
    followed = course(streams=("btcusd.ob-inc",), with_token=False)
    running = followed.run()
    running.send(None)
    running.send(None)
    command = running.send(json.dumps(SUBSCRIBED))
    assert isinstance(command, Tell)
    book = followed.book("btcusd")
    assert (book.current, followed.next_message()) == (False, (None, math.inf))
    while not isinstance(command, Send):
        command = running.send(None)
    assert json.loads(command.text) == {"event": "unsubscribe", "streams": ["btcusd.ob-inc"]}


def frame(stream: str, **body: Any) -> dict[str, Any]:
    return {stream: {"asks": [["2", "1"]], **body}}


@pytest.mark.parametrize(
    ("every", "depth", "stream"), [(250, None, "btcusd.ob-inc@250ms"), (None, 20, "btcusd.ob-top@20")]
)
def test_books_of_a_client_keep_their_view_when_it_comes_back(every: Any, depth: Any, stream: str) -> None:
    followed = Course(Route(URL, (), False, ["btcusd"]), False, None, View(every, depth))
    book = followed.book("btcusd")
    assert book.stream == stream
    kind = "btcusd.ob-snap" if every else stream
    script = [
        frame(kind, sequence=7),
        SUBSCRIBED,
        frame(stream, sequence=9, previous=7),
        Ended(1006, ""),
        frame(kind, sequence=20),
        SUBSCRIBED,
        frame(stream, sequence=22, previous=20),
    ]
    run = Followed(followed, script)
    assert [parse_qs(urlsplit(address).query)["stream"] for address, _ in run.opened] == [[stream]] * 2
    assert (len(run.all("book")), run.all("stale"), run.said) == (4, [book, book], [])
    assert book.sequence == 22


def test_member_with_books_still_gets_orders_and_trades() -> None:
    followed = Course(Route(URL, (), True, ["btcusd"]), True, None, View(depth=5))
    assert list(followed.wanted) == ["order", "trade", "btcusd.ob-top@5"]


def test_hole_in_a_view_requests_that_view_again() -> None:
    followed = course(f"{URL}public", with_token=False)
    book, stream = followed.book("btcusd", every=250), "btcusd.ob-inc@250ms"
    run = Followed(followed, [SNAP, SUBSCRIBED, frame(stream, sequence=9, previous=5), 0.5])
    assert run.said == [{"event": "unsubscribe", "streams": [stream]}, {"event": "subscribe", "streams": [stream]}]
    assert run.all("stale") == [book]


def test_pace_and_depth_can_be_changed_while_it_runs() -> None:
    followed = course(f"{URL}public", with_token=False)
    book = followed.book("btcusd", depth=20)
    run = Followed(followed, [frame(book.stream, sequence=3), SUBSCRIBED])
    assert (run.all("book"), book.current) == ([book], False)
    followed.closed = False
    running = followed.run()
    for answer in (None, None, json.dumps(SUBSCRIBED)):
        command = running.send(answer)
    while not isinstance(command, Receive):
        command = running.send(None)
    assert followed.book("btcusd", every=500) is book
    assert json.loads(str(followed.next_message()[0])) == {"event": "unsubscribe", "streams": ["btcusd.ob-top@20"]}
    assert json.loads(str(followed.next_message()[0])) == {"event": "subscribe", "streams": ["btcusd.ob-inc@500ms"]}
    told = []
    for late in (frame("btcusd.ob-top@20", sequence=4), SNAP, frame("btcusd.ob-inc@500ms", sequence=2, previous=1)):
        command = running.send(json.dumps(late))
        while not isinstance(command, Receive):
            told += [command.name] if isinstance(command, Tell) else []
            command = running.send(None)
    assert told.count("book") == 2, "not by what was on its way"
    assert book.sequence == 2
    followed.unsubscribe([book.stream])
    assert (book.current, list(followed.wanted)) == (False, [])
    assert followed.book("btcusd") is not book


def test_pace_that_is_changed_back_at_once_asks_for_the_book() -> None:
    followed = course(f"{URL}public", with_token=False)
    book = followed.book("btcusd")
    running = followed.run()
    for answer in (None, None, json.dumps(SNAP), None, None, None):
        running.send(answer)
    followed.book("btcusd", every=500)
    followed.book("btcusd", every=0)
    assert not book.current
    assert followed._shelf.seconds(0) < math.inf


TRADES = "btcusd.trades"


def trade(number: int, mark: str | None = None) -> dict[str, Any]:
    return {TRADES: {"tid": number}} | ({} if mark is None else {"mark": mark})


def listed(**more: Any) -> dict[str, Any]:
    return {"success": {"message": "subscribed", "streams": [TRADES]}, **more}


def after_in(run: Followed) -> list[list[str] | None]:
    return [parse_qs(urlsplit(address).query).get("after") for address, _ in run.opened]


def test_trades_go_on_after_the_last_one_that_was_processed() -> None:
    script = [
        listed(),
        trade(1),
        trade(2, "m2"),
        Ended(1006, ""),
        listed(complete={TRADES: True}),
        Ended(1006, ""),
        listed(complete={TRADES: True}),
        trade(3, "m3"),
        Ended(1006, ""),
        listed(complete={TRADES: False}, marks={TRADES: "m9"}),
        Ended(1006, ""),
        listed(complete={TRADES: True}),
        trade(10),
        Ended(1006, ""),
        listed(complete={TRADES: False}),
    ]
    run = Followed(course(f"{URL}public", (TRADES,), with_token=False), script)
    asked = [None, *([f"{TRADES}:{mark}"] for mark in ("m2", "m2", "m3", "m9", ""))]
    assert after_in(run) == asked
    assert "marks=1" in run.opened[0].address
    assert [event.data["tid"] for event in run.events] == [1, 2, 3, 10]
    assert (run.all("missed"), run.all("gap")) == ([TRADES, TRADES], [])
    assert [event.mark for event in run.events] == [None, "m2", "m3", None]


def test_missed_trades_are_reported_before_newer_ones_and_also_without_a_cut() -> None:
    script = [
        listed(marks={TRADES: "m1"}),
        {"complete": {TRADES: False}},
        trade(2),
        Ended(1006, ""),
        listed(),
        trade(3),
    ]
    run = Followed(course(f"{URL}public", (TRADES,), with_token=False), script)
    told = [name for name, _ in run.callbacks if name in ("missed", TRADES)]
    assert told == ["missed", TRADES, "missed", TRADES], "the second by a gateway without marks"


def test_trades_that_are_subscribed_by_message_go_on_as_well() -> None:
    followed = course(f"{URL}public", ("btcusd.tickers",), with_token=False)
    running = followed.run()
    for answer in (None, None, json.dumps({"success": {"message": "subscribed", "streams": ["btcusd.tickers"]}})):
        command = running.send(answer)
    followed.subscribe([TRADES])
    said = []
    for frame in (listed(marks={TRADES: "m1"}), trade(2, "m2")):
        while not isinstance(command, Receive):
            command = running.send(None)
            if isinstance(command, Speak):
                said.append(json.loads(str(followed.next_message()[0])))
        command = running.send(json.dumps(frame))
    assert said == [{"event": "subscribe", "streams": [TRADES], "after": {}}]
    assert followed._trades.query([TRADES, "ethusd.trades"]) == [("after", f"{TRADES}:m1")], (
        "the last one is not processed"
    )
    while not isinstance(command, Receive):
        command = running.send(None)
    assert followed._trades.fields([TRADES]) == {"after": {TRADES: "m2"}}
    followed.unsubscribe([TRADES])
    assert followed.next_message()[0]
    assert followed._trades.fields([TRADES]) == {"after": {}}
    assert followed._trades.fields(["btcusd.tickers", "a.b.trades"]) == {}


def test_trades_continue_if_the_gateway_never_stopped_sending_them() -> None:
    followed = course(f"{URL}public", (TRADES,), with_token=False)

    def busy(run: Followed) -> None:
        while not followed.turn():  # requests, for example
            pass
        followed.unsubscribe([TRADES])
        assert followed.next_message()[0] is None, "the pace does not allow it yet"
        followed.subscribe([TRADES])

    script = [listed(marks={TRADES: "m1"}), trade(2, "m2"), busy, trade(3, "m3"), Ended(1006, ""), listed()]
    run = Followed(followed, script)
    assert after_in(run) == [None, [f"{TRADES}:m3"]]
    assert run.all("missed") == [TRADES]


def test_trades_of_a_stream_that_was_left_meanwhile_are_not_asked_for() -> None:
    followed = course(f"{URL}public", (TRADES, "btcusd.tickers"), with_token=False)

    def leave(run: Followed) -> None:
        followed.unsubscribe([TRADES])
        raise Ended(1006, "")

    back = {"success": {"message": "subscribed", "streams": ["btcusd.tickers"]}}
    Followed(followed, [listed(marks={TRADES: "m1"}), leave, back])
    assert followed._trades.fields([TRADES]) == {"after": {}}


def test_holes_are_mended_together_and_not_all_the_time() -> None:
    followed = course(f"{URL}public", with_token=False)
    markets = [f"market{number}" for number in range(50)]
    for market in markets:
        followed.book(market)
    holes = [{f"{market}.ob-inc": {"asks": ["1", "1"], "sequence": 9}} for market in markets]
    run = Followed(followed, [SUBSCRIBED, *holes * 3, 1.0, *holes])
    assert [len(message["streams"]) for message in run.said] == [1, 1, 50, 50]


def test_another_thread_may_ask_for_a_book_while_holes_are_mended() -> None:
    shelf = Shelf(View())
    books = [shelf.put(market)[0] for market in ("btcusd", "ethusd")]

    class Interrupted(dict[str, Book]):
        """Another thread runs whenever a book is looked up."""

        def __getitem__(self, name: str) -> Book:
            shelf.miss(books[1])
            return dict.__getitem__(self, name)

        def get(self, name: str, default: Any = None) -> Any:
            shelf.miss(books[1])
            return dict.get(self, name, default)

    shelf._books = Interrupted(shelf._books)
    shelf.miss(books[0])
    assert shelf.to_ask(100) == ["btcusd.ob-inc"]
    assert shelf.to_ask(102) == ["ethusd.ob-inc"]


def test_another_thread_may_subscribe_as_the_connection_becomes_live(monkeypatch: pytest.MonkeyPatch) -> None:
    followed = course(streams=("order", "btcusd.trades"))

    def is_public(stream: str) -> bool:
        """Another thread runs whenever this is called."""
        followed.subscribe([f"{len(followed.wanted)}.trades"])
        followed.next_message()
        return stream.count(".") == 1

    monkeypatch.setattr(_course, "is_public", is_public)
    run = Followed(followed, [AUTHENTICATED])
    assert run.all("connected") == [["order", "trade"]]


def test_a_book_that_does_not_come_is_reported_once_on_a_connection() -> None:
    followed = course(f"{URL}public", with_token=False)
    followed.book("btcusd")
    followed.book("btcusdd", every=250)
    followed.book("ethusd", depth=5)
    script = [SUBSCRIBED, SNAP, 6, {"ethusd.ob-top@5": SNAP["btcusd.ob-snap"]}, 3.9]
    assert Followed(followed, script).all("error") == []
    followed.closed = False
    run = Followed(
        followed, [SUBSCRIBED, SNAP, {"ethusd.ob-top@5": SNAP["btcusd.ob-snap"]}, 60, Ended(1006, ""), SUBSCRIBED, 60]
    )
    late = "{}: no order book within 10 s; is the name right?"
    assert run.all("error")[0] == late.format("btcusdd.ob-inc@250ms")
    assert sorted(run.all("error")[1:]) == sorted(
        map(late.format, ["btcusd.ob-inc", "btcusdd.ob-inc@250ms", "ethusd.ob-top@5"])
    )
    assert run.received < 30, "it does not look all the time"


def test_a_book_that_is_added_later_or_dropped_is_waited_for_as_well() -> None:
    followed = course(f"{URL}public", streams=("btcusd.trades",), with_token=False)

    class Adding(Followed):
        def _receive(self, seconds: float) -> str | None:
            if self._script and self._script[0] == "add":
                self._script.pop(0)
                followed.book("btcusdd")
                followed.book("ethusdd")
                followed.unsubscribe(["ethusdd.ob-inc"])
            return super()._receive(seconds)

    run = Adding(followed, [SUBSCRIBED, 60, "add", SUBSCRIBED, 9])
    assert run.all("error") == []
    followed.closed = False
    run = Followed(followed, [SUBSCRIBED, 11])
    assert run.all("error") == ["btcusdd.ob-inc: no order book within 10 s; is the name right?"]


@pytest.mark.parametrize("side", ["none", {"2.0": "1"}])
def test_book_of_another_shape_is_reported(side: Any) -> None:
    followed = course(f"{URL}public", with_token=False)
    book = followed.book("btcusd")
    run = Followed(followed, [SNAP, SUBSCRIBED, {"btcusd.ob-inc": {"asks": side}}])
    assert run.all("error") == ["btcusd.ob-inc: the body is not an order book"]
    assert run.all("stale") == [book]


@pytest.mark.parametrize(
    ("number", "value"),
    [("1e9999999999999999999", "Infinity"), ("-1e-9999999999999999999", "-0"), ("7" * 5000, "7" * 5000)],
)
def test_event_with_a_number_beyond_all_limits_is_an_event(number: str, value: str) -> None:
    frame = f'{{"btcusd.update":{{"amount":{number},"price":1.10}}}}'
    followed = course(f"{URL}public", ("btcusd.update",), with_token=False)
    run = Followed(followed, [SUBSCRIBED, frame.encode()])
    assert [event.text for event in run.events] == [frame]
    assert run.events[0].data == {"amount": Decimal(value), "price": Decimal("1.10")}


def test_stream_is_not_a_callback_of_another_kind() -> None:
    run = Followed(course(streams=("error", "gap")), [SUBSCRIBED | {"resume": AUTHENTICATED["resume"]}, {"gap": 1}])
    assert run.all("gap") == []
    assert [event.stream for event in run.events] == ["gap"]


def test_notices_are_sent_on_request() -> None:
    followed = course()
    followed.notices = True
    run = Followed(followed, [AUTHENTICATED, {"notice": {"text": "maintenance"}}])
    assert "notices=1" in run.opened[0].address
    assert run.all("notice") == [{"text": "maintenance"}]
    assert run.events == []


def test_without_asking_there_is_nothing_about_notices() -> None:
    assert "notices" not in Followed(course(), [AUTHENTICATED]).opened[0].address


@pytest.mark.parametrize("frame", ["text", 5, [], {}, {"success": 1}, {"resume": 1}])
def test_what_is_not_the_gateways_ends_the_connection(frame: Any) -> None:
    followed = course()
    run = Followed(followed, [[frame], Ended(1006, "")])
    assert run.all("disconnected")[0].code == 1006


def test_pauses_grow_and_are_those_that_were_asked_for() -> None:
    longest = Pauses(lambda: 1.0)
    lost = Ended(1006, "")
    assert [longest.after(lost) for _ in range(8)] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert longest.after(Ended(1012, "", 10)) == 40
    longest.connected(31)
    assert longest.after(Ended(1013, "full")) == 5 + 8
    longest.connected(29)
    assert longest.after(Ended(503, "", 1)) == 17, "so short a connection starts nothing again"
    longest.connected(31)
    assert longest.after(Ended(503, "", 1)) == 1.5, "a time that was given counts"
    short = Pauses(lambda: 1.0, longest=2)
    assert [short.after(lost) for _ in range(4)] == [0.5, 1, 2, 2]


def test_pauses_are_as_long_as_the_option_says() -> None:
    followed = Course(Route(URL, (), True), True, None, longest_pause=0.5)
    run = Followed(followed, [*[Ended(1006, "")] * 40, AUTHENTICATED])
    assert len(run.pauses) == 40
    assert max(run.pauses) <= 0.5


@pytest.mark.parametrize("code", [408, 425, 429, 500, 502, 503, 504, 1001, 1006, 1011, 1012, 1013, 1014])
def test_what_is_not_the_tokens_fault_does_not_end_a_client(code: int) -> None:
    run = Followed(course(), [*[Ended(code, "")] * 5, AUTHENTICATED])
    assert [end.code for end in run.all("disconnected")] == [code] * 5
    assert len(run.opened) == 6
    assert run.shown == ["first"] * 6, "the same token, and it was good"


def test_postponed_token_is_sent_again() -> None:
    first, second = token(exp=1_000_100), token(exp=1_000_900)
    later = {"error": {"message": "no key; retry after 3", "retry_after": 3}}
    script = [AUTHENTICATED, 75, *[later, 12.5, later, 6.25, later, 3.125, RENEWED], 600]
    run = Followed(course(), script, [first, second])
    assert run.shown == [first, *[second] * 4]
    assert run.all("disconnected") == []


def live(followed: Course, *commands: type) -> Any:
    """The course of a client that is connected, and the first command of these kinds."""
    running = followed.run()
    command = running.send(None)
    while not isinstance(command, commands):
        answer = json.dumps(SUBSCRIBED) if isinstance(command, Receive) else "first"
        command = running.send(answer)
    return running, command


def test_a_hundred_books_are_few_messages_and_not_too_fast() -> None:
    followed = course(f"{URL}public", with_token=False)
    followed._clock = lambda: now[0]
    now, said = [1000.0], list[Any]()
    running, _ = live(followed, Speak)
    running.send(None)

    def speak() -> float:
        while (message := followed.next_message())[0] is not None:
            said.append(json.loads(message[0]))
        return message[1]

    for number in range(300):
        followed.book(f"market{number}")
        speak()
        now[0] += 0.001
    assert len(said) < 25
    while (seconds := speak()) < math.inf:
        assert seconds > 0
        now[0] += seconds
    assert now[0] < 1002
    assert len(said) < 30
    streams = [name for message in said for name in message["streams"]]
    assert streams == [f"market{number}.ob-inc" for number in range(300)], "each once"
    assert max(len(json.dumps(message)) for message in said) < 8192


def test_client_returns_slower_after_too_many_messages() -> None:
    streams = tuple(f"market{number}.trades" for number in range(900))
    sizes = []
    for times in range(3):
        followed = course(f"{URL}public", streams=streams, with_token=False)
        run = Followed(followed, [*[Ended(1008, "too many messages")] * times, SUBSCRIBED, 1, 1])
        assert [end.pause >= 5 for end in run.all("disconnected")] == [True] * times
        assert len(run.opened[-1].address) < 5000, "and the rest by messages"
        sizes.append(max(len(message["streams"]) for message in run.said))
    assert sizes == [100, 50, 25]


def test_events_come_while_a_fresh_token_is_waited_for() -> None:
    first, second = token(exp=1_000_100), token(exp=1_000_900)
    waits = [first, *[None] * 40, second]
    script = [AUTHENTICATED, 76, {"order": {"id": 1}, "cursor": "c1"}, 5, {"order": {"id": 2}}, 10, RENEWED]
    run = Followed(course(), script, waits)
    assert [event.data["id"] for event in run.events] == [1, 2]
    assert run.shown == [first, second]
    assert run.all("error") == []


def test_a_token_that_took_long_is_enough_while_the_gateway_looks_at_it() -> None:
    first, second, third = (token(exp=1_000_016 + more) for more in (0, 16, 32))
    waits = [first, *[None] * 12, second, third]
    run = Followed(course(), [AUTHENTICATED, 15.2, 0.3, RENEWED, 2], waits)
    assert run.shown == [first, second]


def test_a_token_that_hangs_costs_no_cpu() -> None:
    run = Followed(course(), [AUTHENTICATED, 100], [token(exp=1_000_100), None])
    assert 50 < run.received < 250, "four times a second at most, once one is due"


def test_missing_token_is_reported_and_requested_again() -> None:
    run = Followed(course(), [AUTHENTICATED], [None, None, "late"])
    assert run.all("error") == ["no token: none within 30 s"] * 2
    assert run.shown == ["late"]


@pytest.mark.parametrize("while_it", [AskToken, Tell, Speak, Receive])
def test_it_may_be_closed_at_any_time(while_it: type) -> None:
    followed = course(streams=("order",))
    running, _ = live(followed, while_it)
    followed.close()
    rest = list[Any]()
    with contextlib.suppress(StopIteration):
        rest.append(running.send("late" if while_it is AskToken else None))
        while len(rest) < 10:
            rest.append(running.send(None))
    assert not [command for command in rest if isinstance(command, Open | Send | Receive | Wait)]


@pytest.mark.parametrize(
    ("url", "streams"),
    [
        ("ws://x/private", ()),
        ("ws://x/", ("order",)),
        ("ws://x/", ()),
        ("ws://x/public", "order"),
        ("https://x/public", ()),
    ],
)
def test_settings_that_cannot_work_are_reported(url: str, streams: Any) -> None:
    with pytest.raises(ValueError):
        Route(url, streams, authenticated=False)
