"""The course of a client, connection after connection, as a generator of commands (`_commands.py`). The blocking client
and the asyncio client execute them; this module depends on neither.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterable
from typing import Any, Final, Literal, TypeAlias

from peatio_client._commands import AskToken, Command, Doing, Emit, Open, Receive, Send, Shut, Speak, Tell, Wait
from peatio_client._credentials import NOT_BY_THE_PROXY, Credentials
from peatio_client._endings import LONGEST_PAUSE, LOST, NEW_TOKEN, TOO_FAST, UNAUTHORIZED, Ended, Pauses
from peatio_client._pace import Pace
from peatio_client._shelf import Shelf
from peatio_client._trades import Trades
from peatio_client._wire import Complaint, Conversation, Live, Place, Renewed, Route, Step, is_public
from peatio_client.books import EVERY_CHANGE, Book, Depth, Every, View
from peatio_client.events import CALLBACKS, Disconnected, Event, NoToken, Refused, StreamName

ANSWER_SECONDS: Final = 30.0
"""Time from the connection to the answer to the token: a worker that has just started may read its history first."""
TOKEN_SECONDS: Final = 30.0
"""How long to wait for a token before connecting. After that, the client reports an error and tries again later."""
LOOK_SECONDS: Final = 0.25
"""How often to check for a fresh token while reading events."""
LONGEST_WAIT: Final = 86400.0  # locks cannot wait without a limit

State: TypeAlias = Literal["disconnected", "connecting", "connected", "closed"]


class Course:
    """A client without its socket and its callbacks.

    Args:
        cursor: cursor of the last processed event; None to start now.
        view: the view of books for which the user specifies none.
        fresh_headers: whether each handshake gets new headers.
        fixed_token: whether every connection gets the same token.
        longest_pause: seconds.

    Attributes:
        wanted: streams to subscribe to, in this order.
        notices: whether to request notices, from the next connection on.
        closed: set to end the client.
    """

    def __init__(
        self,
        route: Route,
        with_token: bool,
        cursor: str | None,
        view: View = EVERY_CHANGE,
        fresh_headers: bool = False,
        fixed_token: bool = False,
        longest_pause: float = LONGEST_PAUSE,
    ) -> None:
        self._route, self._with_token, self.cursor = route, with_token, cursor
        self._by_proxy = route.authenticated and not with_token
        self._clock, self._wall = time.monotonic, time.time
        self.wanted = dict.fromkeys(route.streams)
        self.notices = self.closed = self._asking = False  # `_asking`: whether a fresh token was requested
        self.state: State = "disconnected"
        self._credentials = Credentials(with_token, self._by_proxy, fresh_headers, fixed_token)
        self._pace, self._longest_pause = Pace(), longest_pause
        self._conversation: Conversation | None = None
        self._shelf, self._trades = Shelf(view), Trades()
        self.subscribe(self._shelf.put(market)[0].stream for market in route.books)

    # ---- called by the user of the client

    def close(self) -> None:
        self.closed, self.state = True, "closed"

    def subscribe(self, streams: Iterable[StreamName]) -> None:
        """Add streams; `next_message` or the next connection subscribes to them."""
        names = [str(stream) for stream in streams]
        self._route.check(*names)
        self.wanted.update(dict.fromkeys(names))

    def unsubscribe(self, streams: Iterable[StreamName]) -> None:
        """Remove streams; `next_message` unsubscribes from them."""
        for name in map(str, streams):
            self.wanted.pop(name, None)
            self._shelf.drop(name)

    def book(self, market: str, every: Every | None = None, depth: Depth | None = None) -> Book:
        """Maintain the order book of a market, and return it."""
        book, before = self._shelf.put(market, every, depth)  # first: its snapshot may arrive before this returns
        if before is not None:
            self.wanted.pop(before, None)
        asked = self._conversation.asked if self._conversation else ()
        if not book.current and (book.stream in self.wanted or book.stream in asked):
            self._shelf.miss(book)  # the stream is not new, so the gateway sends its book only on request
        self.subscribe((book.stream,))
        return book

    def next_message(self) -> tuple[str | None, float]:
        """Return the next message about streams; or None and the seconds after which to call again (infinite if nothing
        is pending). Combines changes into few messages. May be called from any thread, but one at a time."""
        conversation = self._conversation
        if conversation is None or not conversation.live:
            return None, math.inf
        wanted = dict.copy(self.wanted)
        gone = self._pace.piece(sorted(conversation.asked - wanted.keys()))
        new = [] if gone else self._pace.piece(name for name in wanted if name not in conversation.asked)
        if not gone and not new:
            return None, math.inf
        if seconds := self.turn():
            return None, seconds
        return conversation.unsubscribe(gone) if gone else conversation.subscribe(new), 0.0

    def turn(self) -> float:
        """Return the seconds until another message may be sent. With 0, it counts as sent."""
        return self._pace.wait(self._clock())

    # ---- the course

    def run(self) -> Doing:
        """Run until `close()`.

        Raises:
            Refused: reconnecting would not help.
        """
        pauses = Pauses(longest=self._longest_pause)
        try:
            while not self.closed:
                self._become("connecting")
                began = self._clock()
                try:
                    yield from self._connect()
                    ended = Ended(1000, "")
                except Ended as reason:
                    ended = reason
                if self.state == "connected":
                    pauses.connected(self._clock() - began)
                yield from self._leave()
                if not self.closed:
                    yield from self._pause(ended, pauses)
        finally:
            self._forget()

    def _pause(self, ended: Ended, pauses: Pauses) -> Doing:
        if ended.code == TOO_FAST:
            self._pace.slow_down()
        pause = None if (why := self._credentials.why_final(ended, self._wall())) else pauses.after(ended)
        yield Tell("disconnected", Disconnected(ended.code, ended.reason, pause))
        if pause is None:
            raise Refused(why)
        yield Wait(pause)

    def _connect(self) -> Doing:
        """Connect, and follow one connection to its end."""
        try:
            conversation = yield from self._open()
            deadline = self._clock() + ANSWER_SECONDS
            while conversation is not None and not self.closed:
                yield from self._listen(conversation, deadline)
        except Ended as ended:
            if ended.code == UNAUTHORIZED:
                ended.asked = max(ended.asked, self._credentials.refuse(self._wall()) or 0.0)
            elif ended.code in NEW_TOKEN:
                self._credentials.spend()
            raise

    def _open(self) -> Generator[Command, Any, Conversation | None]:
        """Connect; None after `close()`."""
        try:
            token = yield from self._ask_for_token()
            if self.closed:
                return None
            self._conversation = conversation = Conversation(
                self._route, tuple(self.wanted), token, self.cursor, self.notices, self._trades
            )
            yield Open(conversation.address, conversation.headers)
        except NoToken as error:
            yield Tell("error", f"no token: {error}")
            raise Ended(LOST, "no token") from error
        self._pace.connected(self._clock())
        self._credentials.connected(self._wall())
        return conversation

    def _ask_for_token(self) -> Generator[Command, Any, str | None]:
        if not self._with_token:
            return None
        self._asking = False
        token: object = self._credentials.kept
        if token is None:
            token = yield AskToken(TOKEN_SECONDS)
            if token is None and not self.closed:
                raise NoToken(f"none within {TOKEN_SECONDS:g} s")
        return None if self.closed else self._credentials.show(token, self._wall())

    def _listen(self, conversation: Conversation, deadline: float) -> Doing:
        """Do the work that is due, then read and process one frame."""
        if conversation.live:
            if self._asking or self._credentials.renewal.due <= self._wall():
                yield from self._renew(conversation)
            yield from self._shelf.late(self._clock())
            for streams in self._pace.pieces(self._shelf.to_ask(self._clock())):
                yield Send(conversation.unsubscribe(streams))
                yield Send(conversation.subscribe(streams))
            token_in = LOOK_SECONDS if self._asking else self._credentials.renewal.due - self._wall()
            seconds = min(token_in, self._shelf.seconds(self._clock()))
        else:
            seconds = deadline - self._clock()
        text = yield Receive(min(max(0.0, seconds), LONGEST_WAIT))
        if text is not None:
            yield from self._follow(conversation, text)
        elif not conversation.live and self._clock() >= deadline:
            raise Ended(LOST, f"no answer within {ANSWER_SECONDS:g} s")

    def _renew(self, conversation: Conversation) -> Doing:
        """Send a fresh token on the open connection. Events continue until the token function returns."""
        if not self._asking:
            self._credentials.renewal.put_off(self._wall())  # unless a token is available
        token: object = self._credentials.kept
        if token is None:
            self._asking = True
            try:
                token = yield AskToken(0)
            except NoToken as error:
                self._asking = False
                yield Tell("error", f"no token: {error}")
                return
        if token is None or self.closed:
            return
        self._asking = False
        if (fresh := self._credentials.renew(token)) is not None:
            self._credentials.renewal.put_off(self._wall())  # until the gateway answers, no other token is needed
            yield Send(conversation.renew(fresh))

    def _follow(self, conversation: Conversation, text: str) -> Doing:
        """Execute the steps of a frame."""
        try:
            steps = list(conversation.take(text))
        except (ValueError, KeyError, AttributeError, RecursionError) as error:
            raise Ended(LOST, f"not a message from the gateway: {error}") from error
        for step in steps:
            if isinstance(step, Event):
                yield from self._hand_over(step)
            else:
                yield from self._take(conversation, step)

    def _take(self, conversation: Conversation, step: Step) -> Doing:
        match step:
            case Live(streams):
                # A copy, because another thread may subscribe meanwhile.
                asked = [name for name in list(conversation.asked) if not is_public(name)]
                if self._by_proxy and asked and all(is_public(name) for name in streams):
                    raise Ended(UNAUTHORIZED, NOT_BY_THE_PROXY)
                self._become("connected")
                self._credentials.accept()
                yield Tell("connected", streams)
                yield Speak()
            case Place(cursor, complete):
                if not complete:
                    yield Tell("gap", cursor)
                self.cursor = cursor  # only now: if a callback raised, the gap has to be reported again
            case Renewed():
                self._credentials.accept()
                self._credentials.connected(self._wall())
            case Send() | Tell():
                yield step
            case Complaint(message, refused, postponed):
                yield Tell("error", message)
                if postponed:
                    self._credentials.postpone()
                if refused:
                    self._credentials.refuse_renewal(self._wall())

    def _hand_over(self, event: Event[Any]) -> Doing:
        yield from self._shelf.take(event)
        if event.stream not in CALLBACKS:  # a private stream may have the name of another callback
            yield Tell(event.stream, event)
        yield Tell("event", event)
        yield Emit(event)
        self._trades.seen(event)
        if event.cursor is not None:
            self.cursor = event.cursor

    def _leave(self) -> Doing:
        """Clean up after the end of a connection."""
        lost = self._shelf.lose()
        self._forget()
        yield Shut()
        for book in lost:
            yield Tell("stale", book)

    def _forget(self) -> None:
        self._conversation = None
        self._shelf.lose()
        self._become("disconnected")

    def _become(self, state: State) -> None:
        if not self.closed:
            self.state = state
