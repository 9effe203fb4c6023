"""What the Python clients do, connection after connection: their course, followed with a script for a gateway."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterable
from typing import Any

import pytest
from peatio_client import Event, Refused
from peatio_client._commands import AskToken, Command, Emit, Open, Receive, Send, Shut, Tell, Wait
from peatio_client._course import Course
from peatio_client._endings import Ended, Pauses
from peatio_client._wire import Route

from tests.unit.test_client_tokens import token

URL = "ws://gateway.example/"
CHALLENGE = {"challenge": "any"}
AUTHENTICATED = {"success": {"message": "Authenticated."}, "resume": {"cursor": "c0", "complete": True}}
RENEWED = {"success": {"message": "Authenticated."}}
REFUSED = {"error": {"message": "Authentication failed."}}
SUBSCRIBED = {"success": {"message": "subscribed", "streams": []}}


class Followed:
    """A course that is followed to the end of a script.

    Args:
        script: frames in turn; a number lets so many seconds pass, an `Ended` ends the connection. After the last of
            them the client is closed.
        tokens: given in turn, the last one for ever; an exception is raised.

    Attributes:
        said: what the gateway was sent.
        told: what callbacks were called with.
    """

    def __init__(self, course: Course, script: Iterable[Any], tokens: Iterable[Any] = ("first",)) -> None:
        self.said, self.told, self.pauses = list[Any](), list[tuple[str, Any]](), list[float]()
        self.opened: list[Open] = []
        self.events: list[Event] = []
        self._course, self._script, self._tokens = course, list(script), list(tokens)
        course._clock = course._wall = lambda: self.now
        self.now = 1_000_000.0
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
            case Receive(seconds):
                return self._receive(seconds)
            case Send(text):
                self.said.append(json.loads(text))
            case Wait(seconds):
                self.pauses.append(seconds)
            case Tell(name, what):
                self.told.append((name, what))
            case Emit(event):
                self.events.append(event)
            case Shut():
                pass
        return None

    def _receive(self, seconds: float) -> str | None:
        assert 0 <= seconds <= threading.TIMEOUT_MAX
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
        return json.dumps(word)

    def all(self, name: str) -> list[Any]:
        return [what for told, what in self.told if told == name]


def course(url: str = URL, streams: tuple[str, ...] = (), with_token: bool = True) -> Course:
    return Course(Route(url, streams, with_token), with_token, None)


def test_an_event_counts_once_the_next_one_is_asked_for() -> None:
    followed = course()
    running = followed.run()
    for answer in (None, "token", None):
        command = running.send(answer)
    for frame in (CHALLENGE, AUTHENTICATED, {"trade": {"id": 1}, "cursor": "c1"}):
        assert isinstance(command, Receive)
        command = running.send(json.dumps(frame))
        while not isinstance(command, Receive | Emit):
            command = running.send(None)
    assert isinstance(command, Emit)
    assert followed.cursor == "c0"
    running.send(None)
    assert followed.cursor == "c1"


def test_it_resumes_with_the_last_cursor() -> None:
    followed = Followed(
        course(), [CHALLENGE, AUTHENTICATED, {"order": {}, "cursor": "c1"}, Ended(1006, ""), CHALLENGE, AUTHENTICATED]
    )
    assert [message["resume"] for message in followed.said] == [True, "c1"]
    assert followed.all("gap") == []


def test_a_gap_is_told_before_its_cursor_counts() -> None:
    followed = course()
    answer = {**AUTHENTICATED, "resume": {"cursor": "new", "complete": False}}
    assert Followed(followed, [CHALLENGE, answer]).all("gap") == ["new"]
    assert followed.cursor == "new"


def test_a_gateway_that_knows_no_resuming_promises_nothing() -> None:
    assert Followed(course(), [CHALLENGE, RENEWED]).all("gap") == [None]


def test_a_fresh_token_is_shown_on_the_open_connection() -> None:
    first, second = token(exp=1_000_100), token(exp=1_000_200)
    followed = Followed(course(), [CHALLENGE, AUTHENTICATED, 80, RENEWED, 20, 60], [first, second, second])
    assert [message["jwt"] for message in followed.said] == [f"Bearer {first}", f"Bearer {second}"]
    assert len(followed.opened) == 1
    assert followed.all("error") == []


def test_a_token_may_be_good_for_ever() -> None:
    assert len(Followed(course(), [CHALLENGE, AUTHENTICATED, 10**6], [token(exp=1e300)]).said) == 1


def test_what_gives_tokens_may_fail_now_and_then() -> None:
    first, second = token(exp=1_000_100), token(exp=1_000_200)
    followed = Followed(course(), [CHALLENGE, AUTHENTICATED, 99], [first, OSError("away"), first, second])
    assert [message["jwt"] for message in followed.said] == [f"Bearer {first}", f"Bearer {second}"]
    assert followed.all("error") == ["no token: OSError('away')"]


def test_fresh_tokens_that_are_refused_are_shown_three_times_at_most() -> None:
    tokens = [token(exp=1_000_100, jti=number) for number in range(9)]
    script = [CHALLENGE, AUTHENTICATED, 75, REFUSED, 12.5, REFUSED, 6.25, REFUSED, 1000, Ended(4401, "token expired")]
    with pytest.raises(Refused, match="nor 2 before it"):
        Followed(course(), script, tokens)


def test_streams_of_a_running_client_come_again_after_it() -> None:
    followed = course(f"{URL}public", with_token=False)
    text = followed.subscribe(("btcusd.trades",))
    assert text is None, "it goes along with the connection"
    run = Followed(followed, [SUBSCRIBED, Ended(1006, ""), SUBSCRIBED])
    assert all("stream=btcusd.trades" in address for address, _ in run.opened)
    assert run.said == []


def test_the_classic_protocol_has_public_streams_by_message() -> None:
    followed = course()
    followed.subscribe(("btcusd.trades",))
    assert Followed(followed, [CHALLENGE, AUTHENTICATED]).said[1:] == [
        {"event": "subscribe", "streams": ["btcusd.trades"]}
    ]
    with pytest.raises(ValueError):
        followed.subscribe(("order",))


def test_what_is_subscribed_while_it_connects_is_not_forgotten() -> None:
    followed = course(streams=("order",))
    running = followed.run()
    for answer in (None, "token", None):
        running.send(answer)
    assert followed.subscribe(("btcusd.trades",)) is None
    command = running.send(json.dumps(SUBSCRIBED))
    while not isinstance(command, Send):
        command = running.send(None)
    assert json.loads(command.text) == {"event": "subscribe", "streams": ["btcusd.trades"]}
    assert followed.unsubscribe(("order",)) == '{"event": "unsubscribe", "streams": ["order"]}'


SNAP = {"btcusd.ob-snap": {"asks": [["2", "1"]], "sequence": 1}}


def inc(number: int) -> dict[str, Any]:
    return {"btcusd.ob-inc": {"asks": ["2", str(number)], "sequence": number}}


def test_a_hole_in_a_book_is_told_and_asks_for_a_new_snapshot() -> None:
    followed = course(f"{URL}public", with_token=False)
    book, _ = followed.book("btcusd")
    run = Followed(followed, [SNAP, SUBSCRIBED, inc(2), inc(4), inc(5), 0.5, SNAP, inc(2), 5.0, SNAP])
    assert run.said == [
        {"event": "unsubscribe", "streams": ["btcusd.ob-inc"]},
        {"event": "subscribe", "streams": ["btcusd.ob-inc"]},
    ]
    assert run.all("stale") == [book, book], "by the hole, and by the end"
    assert len(run.all("book")) == 5


def test_a_book_of_a_stream_that_is_subscribed_to_already_is_asked_for() -> None:
    followed = course(streams=("btcusd.ob-inc",), with_token=False)
    book, _ = followed.book("btcusd")
    assert Followed(followed, [SNAP, SUBSCRIBED]).said == [], "it came by itself"
    followed = course(streams=("btcusd.ob-inc",), with_token=False)
    running = followed.run()
    running.send(None)
    running.send(None)
    command = running.send(json.dumps(SUBSCRIBED))
    assert isinstance(command, Tell)
    book, text = followed.book("btcusd")
    assert (book.current, text) == (False, None)
    assert isinstance(command := running.send(None), Send)
    assert json.loads(command.text) == {"event": "unsubscribe", "streams": ["btcusd.ob-inc"]}


def test_holes_are_mended_together_and_not_all_the_time() -> None:
    followed = course(f"{URL}public", with_token=False)
    markets = [f"market{number}" for number in range(50)]
    for market in markets:
        followed.book(market)
    holes = [{f"{market}.ob-inc": {"asks": ["1", "1"], "sequence": 9}} for market in markets]
    run = Followed(followed, [SUBSCRIBED, *holes * 3, 1.0, *holes])
    assert [len(message["streams"]) for message in run.said] == [1, 1, 50, 50]


def test_a_book_of_another_shape_is_told() -> None:
    followed = course(f"{URL}public", with_token=False)
    book, _ = followed.book("btcusd")
    run = Followed(followed, [SNAP, SUBSCRIBED, {"btcusd.ob-inc": {"asks": "none"}}])
    assert run.all("error") == ["btcusd.ob-inc: a body that is no order book; it is not kept"]
    assert run.all("stale") == [book]


def test_a_stream_is_no_callback_of_another_kind() -> None:
    run = Followed(course(streams=("error", "gap")), [SUBSCRIBED | {"resume": AUTHENTICATED["resume"]}, {"gap": 1}])
    assert run.all("gap") == []
    assert [event.stream for event in run.events] == ["gap"]


@pytest.mark.parametrize(("streams", "where"), [((), "message"), (("order",), "query")])
def test_notices_are_asked_for_and_told(streams: tuple[str, ...], where: str) -> None:
    followed = course(streams=streams)
    followed.notices = True
    first = [CHALLENGE, AUTHENTICATED] if not streams else [SUBSCRIBED | {"resume": AUTHENTICATED["resume"]}]
    run = Followed(followed, [*first, {"notice": {"text": "maintenance"}}])
    asked = run.said[0]["notices"] if where == "message" else "notices=1" in run.opened[0].address
    assert asked is True
    assert run.all("notice") == [{"text": "maintenance"}]
    assert run.events == []


def test_without_asking_there_is_nothing_about_notices() -> None:
    run = Followed(course(), [CHALLENGE, AUTHENTICATED])
    assert "notices" not in run.said[0]


@pytest.mark.parametrize("frame", ["text", 5, [], {}, {"success": 1}, {"resume": 1}])
def test_what_is_not_the_gateways_ends_the_connection(frame: Any) -> None:
    followed = course()
    run = Followed(followed, [CHALLENGE, [frame], Ended(1006, "")])
    assert run.all("disconnected")[0].code == 1006


def test_pauses_grow_and_are_those_that_were_asked_for() -> None:
    longest = Pauses(lambda: 1.0)
    lost = Ended(1006, "")
    assert [longest.after(lost) for _ in range(8)] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert longest.after(Ended(1012, "", 10)) == 40
    longest.reset()
    assert longest.after(Ended(1013, "full")) == 5 + 8
    longest.reset()
    assert longest.after(Ended(503, "", 1)) == 1.5, "a time that was given counts"


@pytest.mark.parametrize("code", [408, 425, 429, 500, 502, 503, 504, 1001, 1006, 1011, 1012, 1013, 1014])
def test_what_is_not_the_tokens_fault_does_not_end_a_client(code: int) -> None:
    run = Followed(course(), [*[Ended(code, "")] * 5, CHALLENGE, AUTHENTICATED])
    assert [end.code for end in run.all("disconnected")] == [code] * 5
    assert len(run.opened) == 6
    assert [message["jwt"] for message in run.said] == ["Bearer first"], "the same token, and it was good"


def test_a_fresh_token_that_was_not_looked_at_is_shown_again() -> None:
    first, second = token(exp=1_000_100), token(exp=1_000_900)
    later = {"error": {"message": "no key; retry after 3", "retry_after": 3}}
    script = [CHALLENGE, AUTHENTICATED, 75, *[later, 12.5, later, 6.25, later, 3.125, RENEWED], 600]
    run = Followed(course(), script, [first, second])
    assert [message["jwt"] for message in run.said] == [f"Bearer {first}", *[f"Bearer {second}"] * 4]
    assert run.all("disconnected") == []


@pytest.mark.parametrize(
    ("url", "streams"), [("ws://x/private", ()), ("ws://x/", ("order",)), ("ws://x/", ()), ("ws://x/public", "order")]
)
def test_settings_that_cannot_work_are_told(url: str, streams: Any) -> None:
    with pytest.raises(ValueError):
        Route(url, streams, with_token=False)
