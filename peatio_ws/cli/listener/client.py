"""The client of `listen`: how it connects, what it sends, and when it ends.

Speaks Peatio's classic protocol and Ranger's (contract sections 1 and 2). Knows neither options and terminals nor how
tokens are made (`listen.py`), nor how one thread reads while another one writes over TLS (`tls_socket.py`).
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, quote, urlsplit

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI
from websockets.sync.client import ClientConnection, connect

from peatio_ws.cli import tls_socket
from peatio_ws.cli.listener.replay import BEGIN, Replay
from peatio_ws.config.tls_errors import GATEWAY, tls_fault

ENOUGH, NOT_CONNECTED, NOT_AUTHENTICATED, CLOSED = 0, 1, 3, 4
"""Exit statuses of `listen`; 2 is click's for wrong usage."""

ANSWER_SECONDS: Final = 10.0
"""Time limit of a handshake, and of Ranger's first answer."""


class ListenResult(NamedTuple):
    """Why listening ended.

    Attributes:
        status: of the command.
        events: how many were received.
        again: seconds after which a new connection may succeed; None if it would end in the same way.
        cursor: of the last event, to resume there; None without one.
    """

    status: int
    why: str = ""
    events: int = 0
    again: float | None = None
    cursor: str | None = None


@dataclass(frozen=True)
class ListenTarget:
    """Where to listen, and to what.

    Attributes:
        url: as given, with its query.
        streams: streams in addition to those in the URL.
        bearer: the token, or None to connect without one.
        by_message: send the token in a message after connecting, as a browser has to, even in Ranger's protocol.
        count, seconds: when to end; None for never.
        resume: the cursor to resume from, or `replay.BEGIN`; None to not resume. Only with a token.
    """

    url: str
    streams: tuple[str, ...] = ()
    bearer: str | None = None
    by_message: bool = False
    count: int | None = None
    seconds: float | None = None
    resume: str | None = None

    def with_token(self, bearer: str | None) -> ListenTarget:
        return replace(self, bearer=bearer)

    @property
    def speaks_ranger(self) -> bool:
        """Whether the gateway answers in Ranger's protocol."""
        segments = [segment for segment in urlsplit(self.url).path.split("/") if segment]
        return bool(self.wanted or segments[-1:] in (["public"], ["private"]) or "ranger" in segments)

    @property
    def wanted(self) -> tuple[str, ...]:
        """All streams without duplicates, those of the URL first."""
        query = parse_qsl(urlsplit(self.url).query)
        named = [name for key, value in query if key == "stream" for name in value.split(",") if name]
        return tuple(dict.fromkeys([*named, *self.streams]))

    @property
    def needs_token(self) -> bool:
        """Whether the target includes anything that is not public: private and prefixed streams."""
        if not self.speaks_ranger or self.by_message:
            return True
        ends_private = urlsplit(self.url).path.rstrip("/").endswith("/private")
        return ends_private or any(name.count(".") != 1 for name in self.wanted)

    @property
    def address(self) -> str:
        """The URL to connect to, without the streams that wait for a token in a message."""
        if self.by_message or not self.streams:
            return self.url
        parts = urlsplit(self.url)
        added = "&".join(f"stream={quote(name, safe='')}" for name in self.streams)
        return parts._replace(query=f"{parts.query}&{added}" if parts.query else added).geturl()

    @property
    def resuming_address(self) -> str:
        """The address with the cursor, if the token is sent in a header."""
        if self.resume is None or not self.headers:
            return self.address
        parts = urlsplit(self.address)
        others = [part for part in parts.query.split("&") if part and not part.startswith("resume=")]
        return parts._replace(query="&".join([*others, f"resume={quote(self.resume, safe='')}"])).geturl()

    @property
    def headers(self) -> dict[str, str]:
        """The handshake's headers: Ranger's way to send a token."""
        shown = self.speaks_ranger and not self.by_message and self.bearer
        return {"Authorization": f"Bearer {self.bearer}"} if shown else {}

    @property
    def speaks_first(self) -> bool:
        """Whether the token is sent in a message."""
        return self.bearer is not None and not self.headers


def run_listener(
    target: ListenTarget, show: Callable[[str], None], note: Callable[[str], object] = lambda _: None
) -> ListenResult:
    """Connect, and show every frame until the target's limit or the end of the connection. Ctrl-C ends it, too.

    Args:
        note: is given a text about how the replay ended, if the target resumes.
    """
    listener = None
    try:
        with connect(
            target.resuming_address,
            additional_headers=target.headers,
            open_timeout=ANSWER_SECONDS,
            max_size=None,
            ssl=tls_socket.thread_safe_context() if urlsplit(target.address).scheme == "wss" else None,
        ) as client:
            listener = _Listener(target, client, show, Replay(target.resume, note))
            return listener.run()
    except KeyboardInterrupt:
        return ListenResult(ENOUGH)
    except ConnectionClosed as closed:
        return _closed(closed, listener)
    except InvalidStatus as refused:
        return _refused(target, refused)
    except ConnectionRefusedError:
        text = f"no connection to {target.address}: nothing listens there; is the gateway running?"
        return ListenResult(NOT_CONNECTED, text, again=0)
    except (OSError, InvalidHandshake, InvalidURI) as error:
        fault = tls_fault(error, GATEWAY)
        text = f"no connection to {target.address}: {fault or error or type(error).__name__}"
        return ListenResult(NOT_CONNECTED, text, again=None if fault or isinstance(error, InvalidURI) else 0)


def _closed(closed: ConnectionClosed, listener: _Listener | None) -> ListenResult:
    events, cursor = (listener.events, listener.replay.cursor) if listener is not None else (0, None)
    code, reason = (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd else (1006, "")
    after = _RETRY_AFTER.search(reason)
    again = None if code in _LAST else float(after[1]) if after else 0
    return ListenResult(
        CLOSED, f"closed by the gateway: {code}{f' ({reason})' if reason else ''}", events, again, cursor
    )


def _refused(target: ListenTarget, refused: InvalidStatus) -> ListenResult:
    status, text = refused.response.status_code, (refused.response.body or b"").decode(errors="replace").strip()
    said = f"HTTP {status}{f' ({text})' if text else ''}"
    if status == 401:
        return ListenResult(NOT_AUTHENTICATED, f"not authenticated: {said}")
    after = refused.response.headers.get("Retry-After", "")
    again = None if status != 429 and status < 500 else float(after) if after.isdigit() else 0
    return ListenResult(NOT_CONNECTED, f"no connection to {target.address}: {said}", again=again)


_LAST: Final = frozenset({1000, 1002, 1003, 1007, 1008, 1009, 4403})
"""Close codes after which the same client would be closed again, or had what it wanted (contract section 6)."""
_RETRY_AFTER: Final = re.compile(r"retry after ([0-9]+)")


class _Listener:
    """One connection, from the handshake to its end."""

    def __init__(
        self, target: ListenTarget, client: ClientConnection, show: Callable[[str], None], replay: Replay
    ) -> None:
        self._target, self._client, self._show, self.replay = target, client, show, replay
        self._began = time.monotonic()
        self.events = 0
        # With named streams, wait for the answer that confirms them.
        self._settled = not target.speaks_ranger
        self._asked = not target.by_message

    def run(self) -> ListenResult:
        if self._target.speaks_first:
            resume = self._target.resume
            fields = {} if resume is None else {"resume": True if resume == BEGIN else resume}
            self._send({"jwt": f"Bearer {self._target.bearer}", **fields})
        while not self._settled or self._target.count is None or self.events < self._target.count:
            try:
                frame = str(self._client.recv(timeout=self._seconds_left()))
            except TimeoutError:
                return self._timed_out()
            answer = json.loads(frame) if frame.startswith("{") else {}
            if self.replay.on_frame(answer):
                continue
            self._show(frame)
            if (end := self._on_frame(answer)) is not None:
                return end
            if self._settled and self._asked and (question := self.replay.question()) is not None:
                self._send(question)
        return ListenResult(ENOUGH)

    def _seconds_left(self) -> float | None:
        limits = [self._target.seconds, None if self._settled else ANSWER_SECONDS]
        soonest = min((limit for limit in limits if limit is not None), default=None)
        return None if soonest is None else max(0.0, self._began + soonest - time.monotonic())

    def _timed_out(self) -> ListenResult:
        seconds = self._target.seconds
        if seconds is not None and time.monotonic() - self._began >= seconds:
            return ListenResult(ENOUGH)
        return ListenResult(
            NOT_CONNECTED, f"no answer from {self._target.address} within {ANSWER_SECONDS:g} s", again=0
        )

    def _on_frame(self, answer: dict[str, Any]) -> ListenResult | None:
        if answer.get("error"):
            error = answer["error"]
            return ListenResult(
                NOT_AUTHENTICATED, f"refused: {error.get('message') if isinstance(error, dict) else error}"
            )
        if "success" in answer:
            return self._on_success(answer["success"])
        self.events += "challenge" not in answer and answer.keys() != {"resume"}
        return None

    def _on_success(self, success: dict[str, Any]) -> ListenResult | None:
        wanted, streams = self._target.wanted, success.get("streams")
        if not self._asked:
            # Send the token first; a subscription confirmed before it does not count.
            if success.get("message") != "subscribed":
                self._asked = True
                self._settled = not wanted
                if wanted:
                    self._send({"event": "subscribe", "streams": wanted})
        elif success.get("message") == "subscribed" and isinstance(streams, list):
            if missing := [name for name in wanted if name not in streams]:
                return ListenResult(
                    NOT_AUTHENTICATED, f"not subscribed: {', '.join(missing)}; this needs a token, or another one"
                )
            self._settled = True
        return None

    def _send(self, message: dict[str, Any]) -> None:
        self._client.send(json.dumps(message))
