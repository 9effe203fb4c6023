"""The protocol of one connection: frames in, steps out. Knows no socket.

Supports the classic protocol, and Ranger's with the token in the header.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any, Final, NamedTuple, TypeAlias
from urllib.parse import parse_qsl, urlencode, urlsplit

from peatio_client.events import Event, Stream, StreamName


class Say(NamedTuple):
    """Send this."""

    text: str


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
    """The gateway sent an error. `refused`: about the token; `postponed`: it did not check the token yet."""

    message: str
    refused: bool
    postponed: bool = False


class Notice(NamedTuple):
    """A message from an operator."""

    data: Any


QUERY_CHARACTERS: Final = 4000
"""Limit for the streams in an address; servers and proxies accept lines of 8 KiB, with the cursor and the rest."""

Step: TypeAlias = Event[Any] | Say | Live | Renewed | Place | Complaint | Notice


def is_public(stream: str) -> bool:
    return stream.count(".") == 1


class Route:
    """The address of the gateway, and the protocol.

    Args:
        url: address of the gateway; streams in its query are added to `streams`.
        streams: requested streams; with any, the client uses Ranger's protocol.
        with_token: whether the client has a token function.

    Attributes:
        url: the address without streams.
        streams: all requested streams.

    Raises:
        ValueError: the arguments contradict each other.
    """

    def __init__(self, url: str, streams: Iterable[StreamName], with_token: bool) -> None:
        if isinstance(streams, str | Stream):
            raise ValueError("streams are a list of names, not a text")
        parts = urlsplit(url)
        query = parse_qsl(parts.query, keep_blank_values=True)
        named = [name for key, value in query if key == "stream" for name in value.split(",") if name]
        self.url = parts._replace(query=urlencode([pair for pair in query if pair[0] != "stream"])).geturl()
        self.streams = tuple(dict.fromkeys([*named, *map(str, streams)]))
        segments = parts.path.rstrip("/").split("/")
        self._with_token = with_token
        self.ranger = bool(self.streams) or segments[-1] in ("public", "private") or "ranger" in segments
        if not with_token and segments[-1] == "private":
            raise ValueError("…/private needs a token")
        if not with_token and not self.ranger:
            raise ValueError("the classic protocol needs a token; without one, name public streams or use …/public")
        self.check(*self.streams)

    def check(self, *streams: str) -> None:
        """Check that the client can subscribe to these streams.

        Raises:
            ValueError: it cannot.
        """
        for name in streams:
            if not self._with_token and not is_public(name):
                raise ValueError(f"{name!r}: needs a token; only public streams do not")
            if not self.ranger and "." not in name:
                raise ValueError(
                    f"{name!r}: the classic protocol sends orders and trades unasked, and has no private streams"
                )


class Conversation:
    """One connection's protocol, from its first frame.

    Args:
        streams: initial streams; those that do not fit into the address, and later ones, need `subscribe`.
        cursor: cursor of the last processed event; None to start now.
        notices: whether to request notices.

    Attributes:
        address, headers: what to connect with.
        asked: streams that were requested from the gateway.
        live: whether the connection is authenticated and subscribed.
        renewing: whether the client waits for the answer to a fresh token.
    """

    def __init__(
        self, route: Route, streams: Iterable[str], token: str | None, cursor: str | None, notices: bool = False
    ) -> None:
        self._token, self._cursor, self._ranger, self._notices = token, cursor, route.ranger, notices
        self.live = self.renewing = False
        self.address, self.headers = route.url, dict[str, str]()
        self.asked: set[str] = set()
        if self._ranger:
            names = tuple(_as_many_as_fit(streams))
            self.asked.update(names)
            query = [("stream", name) for name in names or ("",)]
            if token is not None:
                query.append(("resume", cursor or "1"))
                self.headers["Authorization"] = f"Bearer {token}"
            if notices:
                query.append(("notices", "1"))
            parts = urlsplit(route.url)
            self.address = parts._replace(query="&".join(filter(None, (parts.query, urlencode(query))))).geturl()

    def subscribe(self, names: Iterable[str]) -> str:
        """Return the message that subscribes to these streams."""
        listed = list(names)
        self.asked.update(listed)
        return _message(event="subscribe", streams=listed)

    def unsubscribe(self, names: Iterable[str]) -> str:
        listed = list(names)
        self.asked.difference_update(listed)
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
        frame = json.loads(text, parse_float=Decimal)
        if not isinstance(frame, dict) or not frame:
            raise ValueError("not a JSON object, or an empty one")
        if "challenge" in frame:
            notices = {"notices": True} if self._notices else {}
            yield Say(_message(jwt=f"Bearer {self._token}", resume=self._cursor or True, **notices))
        elif "success" in frame:
            yield from self._succeed(frame)
        elif "error" in frame:
            yield self._complain(frame["error"])
        elif frame.keys() == {"resume"}:
            yield _place(frame["resume"])
        elif self._notices and frame.keys() == {"notice"} and "notice" not in self.asked:
            yield Notice(frame["notice"])
        else:
            stream = next(iter(frame))
            yield Event("order" if stream == "orderbook" else stream, frame[stream], frame.get("cursor"), text)

    def _succeed(self, frame: dict[str, Any]) -> Iterator[Step]:
        success = frame["success"]
        if not self.live:
            self.live = True
            yield Live(success.get("streams", []))
            if self._token is not None:
                # A gateway without resuming guarantees nothing.
                yield _place(frame.get("resume", {"cursor": None, "complete": False}))
        elif self.renewing and "streams" not in success:
            self.renewing = False
            yield Renewed()

    def _complain(self, error: Any) -> Complaint:
        message = str(error.get("message") if isinstance(error, dict) else error)
        refused = not self.live and not self._ranger
        if isinstance(error, dict) and "retry_after" in error:
            self.renewing = False
            return Complaint(message, refused=False, postponed=True)
        if self.renewing and message == "Authentication failed.":
            self.renewing, refused = False, True
        return Complaint(message, refused)


def _as_many_as_fit(streams: Iterable[str]) -> Iterator[str]:
    room = QUERY_CHARACTERS
    for name in streams:
        room -= len(urlencode([("stream", name)])) + 1
        if room < 0:
            return
        yield name


def _place(resume: dict[str, Any]) -> Place:
    return Place(resume.get("cursor"), bool(resume.get("complete")))


def _message(**fields: Any) -> str:
    return json.dumps(fields)
