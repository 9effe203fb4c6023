"""A client for the gateway that loses no fill: it comes back after a lost line, and goes on where it was.

    client = PeatioClient("wss://exchange.example/", token=fetch_token)
    client.on("trade", lambda event: book(event.data))
    client.on("gap", lambda cursor: book_all(ask_over_rest()))
    client.run()  # or: for event in client: …

One file, and one package beside Python 3.11 (websockets, 15 or later): copy it, or import it.

*What is promised.* Every private event is handed over once, in order, however often the line is cut: the client keeps
the cursor of the last one, and the gateway sends what followed. An event counts as taken once every callback for it has
returned (in a loop: once the next one is asked for); if one raises, `run()` raises it too, and the event comes again
with the next `run()`. Where the gateway cannot promise that nothing is missing, "gap" is called before anything newer:
read orders and trades over REST then. Public streams are not resumed; a book begins anew with its snapshot.

*Bounded.* Nothing is queued here beyond a few frames: a slow callback slows reading, and if it goes on for long while
much is coming, the gateway hangs up and the client resumes.

*A dead line* is noticed by pings within a minute, by the library's own thread.

It blocks: `run()` and the loop belong to one thread. `close()` may be called from any thread, and from callbacks.
"""

from __future__ import annotations

import contextlib
import json
import logging
import random
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Literal, NamedTuple, Self, TypeAlias, overload
from urllib.parse import parse_qsl, urlencode, urlsplit

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.sync.client import ClientConnection, connect

__all__ = ["Disconnected", "Event", "PeatioClient", "Refused"]

log = logging.getLogger("peatio_client")
_line_log = log.getChild("line")
_line_log.setLevel(logging.CRITICAL)  # the library's: a lost line is told as "disconnected", and no error

FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 30.0
LONGEST_ASKED: Final = 300.0
"""Whoever asks for a longer pause than this is asked again."""
FULL_PAUSE: Final = 5.0
"""At least, where there is no room (1013, 429, 503)."""
STEADY_SECONDS: Final = 30.0
"""A connection that was good for so long starts the pauses anew."""
OPEN_SECONDS: Final = 10.0
CLOSE_SECONDS: Final = 2.0
ANSWER_SECONDS: Final = 30.0
"""From the connection to the answer to the token: a worker that has just started may read its history first."""
MOST_BYTES: Final = 16 * 2**20
"""Of one frame; a book can be long."""
MOST_REFUSALS: Final = 3
"""Tokens refused in a row, each another one, before it is given up."""
NO_RETURN: Final = frozenset((1002, 1003, 1007, 1008, 1009))
"""Close codes after which the same would happen again."""
NEW_TOKEN: Final = frozenset((401, 4401, 4403))
NO_ROOM: Final = frozenset((429, 503, 1013))
LOST: Final = 1006
"""Nobody said why."""


class Refused(Exception):
    """Coming back would not help. A `token` callable may raise it, too, to end the client."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened.

    Attributes:
        stream: `order` or `trade` for what is the member's own, else the stream's name.
        data: its body; numbers with a fraction are `Decimal`, so that no digit is lost.
        cursor: where the client is behind it; None for public streams.
        text: the frame as it came.
    """

    stream: str
    data: Any
    cursor: str | None
    text: str


@dataclass(frozen=True, slots=True)
class Disconnected:
    """A connection that ended, or did not come about.

    Attributes:
        code: the close code; 1006 if nobody said; an HTTP status if the gateway answered with one.
        pause: seconds until the next attempt; None if there is none.
    """

    code: int
    reason: str
    pause: float | None


class _Ended(Exception):
    """How a connection ended. Raised by what talks to the gateway only, never by a callback."""

    def __init__(self, code: int, reason: str, asked: float = 0.0) -> None:
        super().__init__(code, reason)
        self.code, self.reason, self.asked = code, reason, asked


class Pauses:
    """How long to wait before coming back: growing, with full jitter, so that many who left together do not return
    together; on top of what the gateway asked for.

    Args:
        chance: gives numbers from 0 to 1.
    """

    def __init__(self, chance: Callable[[], float] = random.random) -> None:
        self._chance, self._failures = chance, 0

    def reset(self) -> None:
        self._failures = 0

    def next(self, asked: float = 0.0, full: bool = False) -> float:
        """Seconds; more of them each time.

        Args:
            asked: what the gateway said.
            full: there was no room; there will hardly be any at once.
        """
        if full:
            self._failures, asked = max(self._failures, 4), max(asked, FULL_PAUSE)
        jitter = self._chance() * min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(self._failures, 30))
        self._failures += 1
        return min(asked, LONGEST_ASKED) + jitter


# ---- what is said on one connection; knows no socket


class _Say(NamedTuple):
    """Send this."""

    text: str


class _Live(NamedTuple):
    """From now on events come."""

    streams: list[str]


class _Place(NamedTuple):
    """Where the client is, and whether it has got everything before that."""

    cursor: str | None
    complete: bool


class _Complaint(NamedTuple):
    """The gateway did not like something; the token, if `refused`."""

    message: str
    refused: bool


_Step: TypeAlias = Event | _Say | _Live | _Place | _Complaint


class _Conversation:
    """One connection's protocol, from its first frame: the classic one without streams, else Ranger's with the token in
    the header.

    Args:
        cursor: of the last event taken; None to begin.
    """

    def __init__(self, url: str, streams: Sequence[str], token: str | None, cursor: str | None) -> None:
        self._token, self._cursor, self._ranger = token, cursor, bool(streams)
        self.live = False
        self.address, self.headers = url, dict[str, str]()
        if self._ranger:
            query = [("stream", name) for name in streams]
            if token is not None:
                query.append(("resume", cursor or "1"))
                self.headers["Authorization"] = f"Bearer {token}"
            parts = urlsplit(url)
            self.address = parts._replace(query="&".join(filter(None, (parts.query, urlencode(query))))).geturl()

    def take(self, text: str) -> Iterator[_Step]:
        """What a frame comes to, step by step.

        Raises:
            ValueError: it is none of the gateway's.
        """
        frame = json.loads(text, parse_float=Decimal)
        if not isinstance(frame, dict) or not frame:
            raise ValueError("no JSON object with anything in it")
        if "challenge" in frame:
            yield _Say(json.dumps({"jwt": f"Bearer {self._token}", "resume": self._cursor or True}))
        elif "success" in frame:
            yield from self._succeed(frame)
        elif "error" in frame:
            error = frame["error"]
            message = error.get("message") if isinstance(error, dict) else error
            yield _Complaint(str(message), refused=not self.live and not self._ranger)
        elif frame.keys() == {"resume"}:
            yield _place(frame["resume"])
        else:
            stream = next(iter(frame))
            yield Event("order" if stream == "orderbook" else stream, frame[stream], frame.get("cursor"), text)

    def _succeed(self, frame: dict[str, Any]) -> Iterator[_Step]:
        if self.live:
            return
        self.live = True
        yield _Live(frame["success"].get("streams", []))
        if self._token is not None:
            # A gateway that does not know of resuming promises nothing.
            yield _place(frame.get("resume", {"cursor": None, "complete": False}))


def _place(resume: dict[str, Any]) -> _Place:
    return _Place(resume.get("cursor"), bool(resume.get("complete")))


# ---- the client


class PeatioClient:
    """A member's orders and trades, and streams, over as many connections as it takes.

    Args:
        url: of the gateway.
        token: called for each connection; gives the session's token, a fresh one if it can. What it raises is told as
            an "error" and it is asked again later, but for `Refused`. None for public streams only.
        streams: to be subscribed to, private ones (`order`, `trade`) too; then Ranger's protocol is spoken. Without any
            it is the classic one, with all orders and trades of the member.
        cursor: of the last event that an earlier process took; None to begin now.
        silence: seconds without a sign of life after which a line is dead.

    Attributes:
        cursor: of the last event taken.
        state: what it is about.
    """

    def __init__(
        self,
        url: str,
        token: Callable[[], str] | None = None,
        streams: Sequence[str] = (),
        cursor: str | None = None,
        silence: float = 60.0,
    ) -> None:
        parts = urlsplit(url)
        query = parse_qsl(parts.query, keep_blank_values=True)
        named = [name for key, value in query if key == "stream" for name in value.split(",") if name]
        self._url = parts._replace(query=urlencode([pair for pair in query if pair[0] != "stream"])).geturl()
        self._streams = tuple(dict.fromkeys([*named, *streams]))
        segments = parts.path.rstrip("/").split("/")
        if not self._streams and (segments[-1] in ("public", "private") or "ranger" in segments):
            raise ValueError("a path of Ranger's needs streams")
        if token is None and any(name.count(".") != 1 for name in self._streams or ("",)):
            raise ValueError("only public streams come without a token")
        self._token, self._silence = token, silence
        self.cursor = cursor
        self.state: Literal["disconnected", "connecting", "connected", "closed"] = "disconnected"
        self._callbacks: dict[str, list[Callable[[Any], object]]] = {name: [] for name in _NAMES}
        self._refused: str | None = None  # the token that is no good any more
        self._refusals = 0
        self._stop = threading.Event()
        self._gateway: ClientConnection | None = None
        self._events: Iterator[Event] | None = None

    @overload
    def on(self, name: Literal["order", "trade", "event"], callback: Callable[[Event], object]) -> Self: ...
    @overload
    def on(self, name: Literal["gap"], callback: Callable[[str | None], object]) -> Self: ...
    @overload
    def on(self, name: Literal["connected"], callback: Callable[[list[str]], object]) -> Self: ...
    @overload
    def on(self, name: Literal["disconnected"], callback: Callable[[Disconnected], object]) -> Self: ...
    @overload
    def on(self, name: Literal["error"], callback: Callable[[str], object]) -> Self: ...
    def on(self, name: str, callback: Callable[[Any], object]) -> Self:
        """Have a callback called.

        Args:
            name: `order` and `trade` for what is the member's own; `event` for every event; `gap` when something may be
                missing, with the cursor from which it goes on; `connected`, authenticated and subscribed, with the
                streams; `disconnected`, with how it ended and goes on; `error` with what the gateway complained of.
        """
        if name not in self._callbacks:
            raise ValueError(f"{name!r} is none of {', '.join(_NAMES)}")
        self._callbacks[name].append(callback)
        return self

    def run(self) -> None:
        """Serve the callbacks until `close()`.

        Raises:
            Refused: coming back would not help.
            Exception: whatever a callback raised.
        """
        for _ in self:
            pass

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        # Kept here, so that a loop may be left, and another one goes on where it was.
        if self._events is None:
            self._events = self._serve()
        try:
            return next(self._events)
        except BaseException:
            self._events = None
            raise

    def close(self) -> None:
        """End it, with a closing handshake where there is a connection; harmless a second time."""
        self._stop.set()
        self.state = "closed"
        if self._gateway is not None:
            self._gateway.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _serve(self) -> Iterator[Event]:
        pauses = Pauses()
        while not self._stop.is_set():
            self._become("connecting")
            began = time.monotonic()
            try:
                yield from self._connect()
                ended = _Ended(1000, "")
            except _Ended as reason:
                ended = reason
            finally:
                was_live = self.state == "connected"
                self._become("disconnected")
            if self._stop.is_set():
                return
            if was_live and time.monotonic() - began > STEADY_SECONDS:
                pauses.reset()
            if ended.code in NO_RETURN:
                self._give_up(ended, f"closed: {ended.code} {ended.reason}; it would happen again")
            if self._refusals >= MOST_REFUSALS:
                self._give_up(ended, f"the gateway does not take this token, nor {MOST_REFUSALS - 1} before it")
            pause = pauses.next(ended.asked, full=ended.code in NO_ROOM)
            self._tell("disconnected", Disconnected(ended.code, ended.reason, pause))
            self._stop.wait(pause)

    def _give_up(self, ended: _Ended, why: str) -> None:
        self._tell("disconnected", Disconnected(ended.code, ended.reason, None))
        raise Refused(why)

    def _connect(self) -> Iterator[Event]:
        """One connection."""
        token = self._ask_for_token()
        conversation = _Conversation(self._url, self._streams, token, self.cursor)
        with contextlib.ExitStack() as stack:
            try:
                self._gateway = gateway = self._open(stack, conversation)
                stack.callback(gateway.close)  # with 1000, whatever ends it; the library would say 1011
                deadline = time.monotonic() + ANSWER_SECONDS
                while not self._stop.is_set():
                    text = _receive(gateway, None if conversation.live else deadline - time.monotonic())
                    yield from self._follow(gateway, conversation, text)
            except _Ended as ended:
                if ended.code in NEW_TOKEN:
                    self._refused = token
                    self._refusals += ended.code == 401
                raise
            finally:
                self._gateway = None

    def _ask_for_token(self) -> str | None:
        if self._token is None:
            return None
        try:
            token = self._token()
        except Refused:
            raise
        except Exception as error:  # as likely as not, what gives tokens is out of reach along with the gateway
            self._tell("error", f"no token: {error!r}")
            raise _Ended(LOST, "no token") from error
        if token == self._refused:
            raise Refused("the gateway does not take this token any more, and there is no other")
        return token

    def _open(self, stack: contextlib.ExitStack, conversation: _Conversation) -> ClientConnection:
        try:
            return stack.enter_context(
                connect(
                    conversation.address,
                    additional_headers=conversation.headers,
                    open_timeout=OPEN_SECONDS,
                    close_timeout=min(CLOSE_SECONDS, self._silence / 12),
                    ping_interval=self._silence / 3,
                    ping_timeout=self._silence / 2,
                    max_size=MOST_BYTES,
                    logger=_line_log,
                )
            )
        except InvalidStatus as refused:
            later = refused.response.headers.get("Retry-After", "")
            asked = float(later) if re.fullmatch(r"\d{1,9}", later) else 0.0
            status = refused.response.status_code
            raise _Ended(status, f"HTTP {status}", asked) from refused
        except (OSError, InvalidHandshake, ConnectionClosed) as error:
            raise _Ended(LOST, str(error) or type(error).__name__) from error

    def _follow(self, gateway: ClientConnection, conversation: _Conversation, text: str) -> Iterator[Event]:
        """Do what a frame comes to."""
        try:
            steps = list(conversation.take(text))
        except (ValueError, KeyError, AttributeError) as error:
            raise _Ended(LOST, f"not the gateway's: {error}") from error
        for step in steps:
            match step:
                case Event():
                    yield from self._hand_over(step)
                case _Say(words):
                    _send(gateway, words)
                case _Live(streams):
                    self._become("connected")
                    self._refused, self._refusals = None, 0
                    self._tell("connected", streams)
                case _Place(cursor, complete):
                    if not complete:
                        self._tell("gap", cursor)
                    self.cursor = cursor  # only now: if a callback raised, it has to be told again
                case _Complaint(message, refused):
                    self._tell("error", message)
                    if refused:
                        raise _Ended(401, message)

    def _hand_over(self, event: Event) -> Iterator[Event]:
        if event.stream in ("order", "trade"):
            self._tell(event.stream, event)
        self._tell("event", event)
        yield event
        if event.cursor is not None:
            self.cursor = event.cursor

    def _tell(self, name: str, what: Any) -> None:
        callbacks = self._callbacks[name]
        for callback in callbacks:
            callback(what)
        if not callbacks and name in ("gap", "error"):
            log.warning("%s: %s, and nobody is told of it", name, what)

    def _become(self, state: Literal["disconnected", "connecting", "connected"]) -> None:
        if not self._stop.is_set():
            self.state = state


_NAMES: Final = ("order", "trade", "event", "gap", "connected", "disconnected", "error")


def _receive(gateway: ClientConnection, seconds: float | None) -> str:
    try:
        return str(gateway.recv(timeout=seconds))
    except TimeoutError:
        raise _Ended(LOST, f"no answer within {ANSWER_SECONDS:g} s") from None
    except ConnectionClosed as closed:
        raise _ended(closed) from closed


def _send(gateway: ClientConnection, text: str) -> None:
    try:
        gateway.send(text)
    except ConnectionClosed as closed:
        raise _ended(closed) from closed


def _ended(closed: ConnectionClosed) -> _Ended:
    if closed.rcvd is None:
        return _Ended(LOST, "connection lost")
    asked = re.search(r"retry after (\d{1,9})", closed.rcvd.reason)
    return _Ended(closed.rcvd.code, closed.rcvd.reason, float(asked[1]) if asked else 0.0)
