"""What a client does, connection after connection, as a generator of commands to whoever has the socket and calls the
callbacks. Written once for the blocking client and the one of asyncio. Knows neither.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator
from typing import Any, Final, Literal, TypeAlias

from peatio_client._commands import AskToken, Command, Doing, Emit, Open, Receive, Send, Shut, Speak, Tell, Wait
from peatio_client._endings import LOST, NEW_TOKEN, NO_RETURN, TOO_FAST, Ended, Pauses
from peatio_client._pace import Pace
from peatio_client._shelf import Shelf
from peatio_client._tokens import Renewal
from peatio_client._wire import Complaint, Conversation, Live, Notice, Place, Renewed, Route, Say, Step
from peatio_client.books import Book
from peatio_client.events import Disconnected, Event, Refused

STEADY_SECONDS: Final = 30.0
"""A connection that was good for so long starts the pauses anew."""
ANSWER_SECONDS: Final = 30.0
"""From the connection to the answer to the token: a worker that has just started may read its history first."""
TOKEN_SECONDS: Final = 30.0
"""How long a token is waited for before it connects; then that is told, and it is tried again later."""
LOOK_SECONDS: Final = 0.25
"""How often it is looked whether a fresh token has come, while events are read."""
LONGEST_WAIT: Final = 86400.0
"""Locks cannot wait for ever."""
MOST_REFUSALS: Final = 3
"""Tokens refused in a row, each another one, before it is given up."""

State: TypeAlias = Literal["disconnected", "connecting", "connected", "closed"]


class Course:
    """All of a client but its socket and its callbacks.

    Args:
        cursor: of the last event that was taken; None to begin now.
        clock: seconds that only ever grow.
        wall: Unix time.

    Attributes:
        wanted: streams to be subscribed to, in that order.
        notices: whether to ask for notices, from the next connection on.
        closed: set to end.
    """

    def __init__(
        self,
        route: Route,
        with_token: bool,
        cursor: str | None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._route, self._with_token, self.cursor = route, with_token, cursor
        self._clock, self._wall = clock, wall
        self.wanted = dict.fromkeys(route.streams)
        self.notices = self.closed = False
        self.state: State = "disconnected"
        self._shown: str | None = None  # the token that the gateway was shown last
        self._refused: str | None = None  # the one that is no good any more
        self._refusals = 0
        self._renewal, self._asking = Renewal(), False  # whether a fresh token is being waited for
        self._pace = Pace()
        self._conversation: Conversation | None = None
        self._shelf = Shelf()

    # ---- asked by the client's user

    def close(self) -> None:
        self.closed, self.state = True, "closed"

    def subscribe(self, names: tuple[str, ...]) -> None:
        """Streams to be subscribed to; `next_message` says so, or the next connection."""
        self._route.check(*names)
        self.wanted.update(dict.fromkeys(names))

    def unsubscribe(self, names: tuple[str, ...]) -> None:
        """The same."""
        for name in names:
            self.wanted.pop(name, None)
            self._shelf.drop(name)

    def book(self, market: str) -> Book:
        """A kept one."""
        book = self._shelf.put(market)  # first: its snapshot may be here before this returns
        stream, asked = f"{book.name}-inc", self._conversation.asked if self._conversation else ()
        if not book.current and (stream in self.wanted or stream in asked):
            self._shelf.miss(book)  # the stream is not new: nobody sends its book by himself
        self.subscribe((stream,))
        return book

    def next_message(self) -> tuple[str | None, float]:
        """What to say now about streams, one message; or None, and in how many seconds to ask again (infinite: there is
        nothing to say). Many changes are few messages. From any thread, but one at a time."""
        conversation = self._conversation
        if conversation is None or not conversation.live:
            return None, math.inf
        wanted = dict.copy(self.wanted)
        gone = self._pace.piece(sorted(conversation.asked - wanted.keys()))
        new = [] if gone else self._pace.piece(name for name in wanted if name not in conversation.asked)
        if not gone and not new:
            return None, math.inf
        if seconds := self._pace.wait(self._clock()):
            return None, seconds
        return conversation.unsubscribe(gone) if gone else conversation.subscribe(new), 0.0

    # ---- the course

    def run(self) -> Doing:
        """Until `close()`.

        Raises:
            Refused: coming back would not help.
        """
        pauses = Pauses()
        try:
            while not self.closed:
                self._become("connecting")
                began = self._clock()
                try:
                    yield from self._connect()
                    ended = Ended(1000, "")
                except Ended as reason:
                    ended = reason
                if self.state == "connected" and self._clock() - began > STEADY_SECONDS:
                    pauses.reset()
                yield from self._leave()
                if not self.closed:
                    yield from self._pause(ended, pauses)
        finally:
            self._forget()

    def _pause(self, ended: Ended, pauses: Pauses) -> Doing:
        why = ""
        if ended.code == TOO_FAST:
            self._pace.slow_down()
        if ended.code in NO_RETURN:
            why = f"closed: {ended.code} {ended.reason}; it would happen again"
        elif self._refusals >= MOST_REFUSALS:
            why = f"the gateway does not take this token, nor {MOST_REFUSALS - 1} before it"
        pause = None if why else pauses.after(ended)
        yield Tell("disconnected", Disconnected(ended.code, ended.reason, pause))
        if pause is None:
            raise Refused(why)
        yield Wait(pause)

    def _connect(self) -> Doing:
        """One connection."""
        token = yield from self._ask_for_token()
        if self.closed:
            return
        self._conversation = conversation = Conversation(
            self._route, tuple(self.wanted), token, self.cursor, self.notices
        )
        try:
            yield Open(conversation.address, conversation.headers)
            self._pace.connected(self._clock())
            if token is not None:
                self._renewal.shown(token, self._wall())
            deadline = self._clock() + ANSWER_SECONDS
            while not self.closed:
                yield from self._listen(conversation, deadline)
        except Ended as ended:
            if ended.code in NEW_TOKEN:
                self._refused = self._shown
                self._refusals += ended.code == 401
            raise

    def _ask_for_token(self) -> Generator[Command, Any, str | None]:
        if not self._with_token:
            return None
        self._asking = False
        try:
            token = yield AskToken(TOKEN_SECONDS)
            if token is None and not self.closed:
                raise TimeoutError(f"none within {TOKEN_SECONDS:g} s")
        except Refused:
            raise
        except Exception as error:  # as likely as not, what gives tokens is out of reach along with the gateway
            yield Tell("error", f"no token: {error!r}")
            raise Ended(LOST, "no token") from error
        if self.closed:
            return None
        if token == self._refused:
            raise Refused("the gateway does not take this token any more, and there is no other")
        self._shown = str(token)
        return self._shown

    def _listen(self, conversation: Conversation, deadline: float) -> Doing:
        """One frame, or what is due before one comes."""
        if conversation.live:
            if self._asking or self._renewal.due <= self._wall():
                yield from self._renew(conversation)
            for streams in self._pace.pieces(self._shelf.to_ask(self._clock())):
                yield Send(conversation.unsubscribe(streams))
                yield Send(conversation.subscribe(streams))
            token_in = LOOK_SECONDS if self._asking else self._renewal.due - self._wall()
            seconds = min(token_in, self._shelf.seconds(self._clock()))
        else:
            seconds = deadline - self._clock()
        text = yield Receive(min(max(0.0, seconds), LONGEST_WAIT))
        if text is not None:
            yield from self._follow(conversation, text)
        elif not conversation.live:
            raise Ended(LOST, f"no answer within {ANSWER_SECONDS:g} s")

    def _renew(self, conversation: Conversation) -> Doing:
        """Show a fresh token on the connection there is. What gives tokens may take its time, while events are read."""
        if not self._asking:
            self._renewal.put_off(self._wall())  # unless there is one
        self._asking = True
        try:
            token = yield AskToken(0)
        except Refused:
            raise
        except Exception as error:
            self._asking = False
            yield Tell("error", f"no token: {error!r}")
            return
        if token is None or self.closed:
            return
        self._asking = False
        if token not in (self._shown, self._refused):
            self._shown = str(token)
            yield Send(conversation.renew(self._shown))

    def _follow(self, conversation: Conversation, text: str) -> Doing:
        """Do what a frame comes to."""
        try:
            steps = list(conversation.take(text))
        except (ValueError, KeyError, AttributeError, RecursionError) as error:
            raise Ended(LOST, f"not the gateway's: {error}") from error
        for step in steps:
            if isinstance(step, Event):
                yield from self._hand_over(step)
            else:
                yield from self._take(conversation, step)

    def _take(self, conversation: Conversation, step: Step) -> Doing:
        match step:
            case Say(words):
                yield Send(words)
            case Live(streams):
                self._become("connected")
                self._refused, self._refusals = None, 0
                yield Tell("connected", streams)
                yield Speak()
            case Place(cursor, complete):
                if not complete:
                    yield Tell("gap", cursor)
                self.cursor = cursor  # only now: if a callback raised, it has to be told again
            case Renewed():
                self._refused, self._refusals = None, 0
                if self._shown is not None:
                    self._renewal.shown(self._shown, self._wall())
            case Notice(data):
                yield Tell("notice", data)
            case Complaint(message, refused, postponed):
                yield Tell("error", message)
                if postponed:
                    self._shown = None  # the gateway does not know it yet: it may be shown again
                if refused and not conversation.live:
                    raise Ended(401, message)
                if refused:
                    self._refused = self._shown
                    self._refusals += 1
                    if self._refusals >= MOST_REFUSALS:
                        self._renewal.stop()

    def _hand_over(self, event: Event) -> Doing:
        yield from self._shelf.take(event)
        if event.stream in ("order", "trade") or "." in event.stream:  # and none that is called as other callbacks are
            yield Tell(event.stream, event)
        yield Tell("event", event)
        yield Emit(event)
        if event.cursor is not None:
            self.cursor = event.cursor

    def _leave(self) -> Doing:
        """The connection is over, one way or the other."""
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
