"""The protocol of one connection: frames in, steps out. Knows no socket.

This is Ranger's protocol, with the token in the header. In it, orders and trades have one shape.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple, TypeAlias
from urllib.parse import parse_qsl, urlencode, urlsplit

from peatio_client import _json
from peatio_client._commands import Send, Tell
from peatio_client._trades import Trades
from peatio_client.events import Event, Resumed, Stream, StreamName


class Live(NamedTuple):
    """The connection is authenticated and subscribed; events follow."""

    streams: list[str]


class Renewed(NamedTuple):
    """The gateway accepted the fresh token."""


class Place(NamedTuple):
    """The position of the client, and whether it has received everything before it."""

    cursor: str | None
    complete: bool


class Complaint(NamedTuple):
    """The gateway sent an error. `refused`: about a fresh token; `postponed`: it did not check the token yet."""

    message: str
    refused: bool
    postponed: bool = False


QUERY_CHARACTERS: Final = 4000
"""Limit for the streams in an address; servers and proxies accept lines of 8 KiB, with the cursor and the rest."""

PRIVATE: Final = ("order", "trade")
"""The default streams of an authenticated client."""

AFTER_REPLAY: Final = "after the replay"
"""The `echo` of the message that the gateway answers after it has sent the missed events."""

Step: TypeAlias = Event[Any] | Live | Renewed | Place | Complaint | Send | Tell


def is_public(stream: str) -> bool:
    return stream.count(".") == 1


class Route:
    """The address of the gateway, and the initial streams.

    Args:
        url: address of the gateway; streams in its query are added to `streams`.
        streams: requested streams; without any, a member's orders and trades.
        authenticated: whether the connection belongs to a member: by a token, or by the proxy.
        books: markets whose books the client maintains from the start.

    Attributes:
        url: the address without streams.
        streams: all requested streams, without those of books.

    Raises:
        ValueError: the arguments contradict each other.
    """

    def __init__(self, url: str, streams: Iterable[StreamName], authenticated: bool, books: Iterable[str] = ()) -> None:
        if isinstance(streams, str | Stream) or isinstance(books, str):
            raise ValueError("streams and books have to be lists of names, not a string")
        self.books = tuple(books)
        parts = urlsplit(url)
        if parts.scheme not in ("ws", "wss") or not parts.hostname:
            raise ValueError("the address of the gateway has to be like ws://host:port/ or wss://host/")
        query = parse_qsl(parts.query, keep_blank_values=True)
        named = [name for key, value in query if key == "stream" for name in value.split(",") if name]
        self.url = parts._replace(query=urlencode([pair for pair in query if pair[0] != "stream"])).geturl()
        self.streams = tuple(dict.fromkeys([*named, *map(str, streams)]))
        self.authenticated = authenticated
        last = parts.path.rstrip("/").split("/")[-1]
        if authenticated:
            self.streams = self.streams or PRIVATE
        elif last == "private":
            raise ValueError("…/private requires a token")
        elif not self.streams and not self.books and last != "public":
            raise ValueError("pass a token for the orders and trades of a member, or name public streams")
        self.check(*self.streams)

    def check(self, *streams: str) -> None:
        """Check that the client can subscribe to these streams.

        Raises:
            ValueError: it cannot.
        """
        for name in streams:
            if not self.authenticated and not is_public(name):
                raise ValueError(f"{name!r} requires a token: it is not a public stream")


class Conversation:
    """One connection's protocol, from its first frame.

    Args:
        streams: initial streams; those that do not fit into the address, and later ones, need `subscribe`.
        cursor: cursor of the last processed event; None to start now.
        notices: whether to request notices.
        trades: positions in streams of trades, from earlier connections.

    Attributes:
        address, headers: the address and the headers of the handshake.
        asked: streams that were requested from the gateway.
        live: whether the connection is authenticated and subscribed.
        renewing: whether the client waits for the answer to a fresh token.
    """

    def __init__(
        self,
        route: Route,
        streams: Iterable[str],
        token: str | None,
        cursor: str | None,
        notices: bool = False,
        trades: Trades | None = None,
    ) -> None:
        self._authenticated, self._notices, self._trades = route.authenticated, notices, trades or Trades()
        self.live = self.renewing = False
        self.headers = dict[str, str]()
        streams = tuple(streams)
        self._trades.keep(streams)
        # Private streams first: the missed events follow once these are subscribed.
        names = tuple(_as_many_as_fit(sorted(streams, key=is_public), self._trades))
        self.asked = set(names)
        self._complete = True  # whether the gateway has guaranteed all events so far
        self._resumes = cursor is not None and not all(map(is_public, names))  # until the missed events have come
        query = [("stream", name) for name in names or ("",)]
        if route.authenticated:
            query.append(("resume", cursor or "1"))
        if token is not None:
            self.headers["Authorization"] = f"Bearer {token}"
        query += self._trades.query(names)
        if notices:
            query.append(("notices", "1"))
        parts = urlsplit(route.url)
        self.address = parts._replace(query="&".join(filter(None, (parts.query, urlencode(query))))).geturl()

    def subscribe(self, names: Iterable[str]) -> str:
        """Return the message that subscribes to these streams."""
        listed = list(names)
        self.asked.update(listed)
        return _message(event="subscribe", streams=listed, **self._trades.fields(listed))

    def unsubscribe(self, names: Iterable[str]) -> str:
        listed = list(names)
        self.asked.difference_update(listed)
        self._trades.drop(listed)
        return _message(event="unsubscribe", streams=listed)

    def renew(self, token: str) -> str:
        """Return the message that sends a fresh token."""
        self.renewing = True
        return _message(jwt=f"Bearer {token}")

    def take(self, text: str) -> Iterator[Step]:
        """Yield the steps that a frame requires.

        Raises:
            ValueError: the frame is not one of the gateway's.
        """
        frame = _json.read(text)
        if not isinstance(frame, dict) or not frame:
            raise ValueError("not a JSON object, or an empty one")
        if frame.get("echo") == AFTER_REPLAY and self._resumes:
            self._resumes = False
            yield Tell("resumed", Resumed(self._complete))
        elif "success" in frame:
            yield from self._succeed(frame)
        elif "error" in frame:
            yield self._complain(frame["error"])
        elif frame.keys() == {"resume"}:
            yield self._place(frame["resume"])
        elif frame.keys() == {"complete"} and "complete" not in self.asked:
            yield from (Tell("missed", stream) for stream, complete in frame["complete"].items() if not complete)
        elif self._notices and frame.keys() == {"notice"} and "notice" not in self.asked:
            yield Tell("notice", frame["notice"])
        else:
            stream = next(iter(frame))
            yield Event(stream, frame[stream], frame.get("cursor"), text, frame.get("mark"))

    def _succeed(self, frame: dict[str, Any]) -> Iterator[Step]:
        success = frame["success"]
        yield from (Tell("missed", stream) for stream in self._trades.take(success.get("streams", ()), frame))
        if not self.live:
            self.live = True
            yield Live(success.get("streams", []))
            if self._authenticated:
                # A gateway without resuming guarantees nothing.
                yield self._place(frame.get("resume", {"cursor": None, "complete": False}))
                if self._resumes:
                    yield Send(_message(event="unsubscribe", streams=[], echo=AFTER_REPLAY))
        elif self.renewing and "streams" not in success:
            self.renewing = False
            yield Renewed()

    def _place(self, resume: dict[str, Any]) -> Place:
        place = Place(resume.get("cursor"), bool(resume.get("complete")))
        self._complete = self._complete and place.complete
        return place

    def _complain(self, error: Any) -> Complaint:
        message = str(error.get("message") if isinstance(error, dict) else error)
        refused = False
        if isinstance(error, dict) and "retry_after" in error:
            self.renewing = False
            return Complaint(message, refused=False, postponed=True)
        if self.renewing and message == "Authentication failed.":
            self.renewing, refused = False, True
        return Complaint(message, refused)


def _as_many_as_fit(streams: Iterable[str], trades: Trades) -> Iterator[str]:
    room = QUERY_CHARACTERS
    for name in streams:
        room -= len(urlencode([("stream", name), *trades.query([name])])) + 1
        if room < 0:
            return
        yield name


def _message(**fields: Any) -> str:
    return json.dumps(fields)
