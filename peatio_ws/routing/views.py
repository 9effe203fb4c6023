"""Views of public streams: events and books in the pace and depth that clients ask for (contract section 8).

Never waits: puts frames into outboxes through the worker's batch. A view exists while somebody follows it; it is
computed once for all followers. The names are in `protocol/view_names.py`, what it sends next in `followed_view.py`.

Theory of operation. A view sends at once if it has sent nothing for its time, in the batch of the event that changed
it. Otherwise one timer for all views sends it as soon as its time is over. A client is *late* if its socket accepts
nothing more, or if so many of its views are due at once that half of its outbox is full. It is left out, and receives
the newest state when it has read what waits for it. So nothing piles up.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Final

from peatio_ws.concurrency.timer_wheel import TOGETHER, TimerWheel
from peatio_ws.orderbook.book import Change
from peatio_ws.orderbook.sync import BookSync, SyncResult
from peatio_ws.protocol.view_names import View, ViewKind, view_names, view_of
from peatio_ws.routing.audience import Audience, add_subscriber, remove_subscriber, subscribers
from peatio_ws.routing.batch import Batch
from peatio_ws.routing.book_stream import BOOKS_OF_ROOM
from peatio_ws.routing.followed_view import ChangesView, FollowedView, LatestEvent, LatestView, TopView
from peatio_ws.transport.outbox import Outbox

MOST_REMEMBERED: Final = 5_000
"""Streams of which the latest event is remembered for followers to come."""
LARGEST_REMEMBERED: Final = 65_536
"""Bytes of an event that is remembered while nobody follows its stream."""

_CHANGED: Final = (SyncResult.SEND, SyncResult.CONFIRMED)
_UNCHANGED: Final = (SyncResult.STALE, SyncResult.HELD, SyncResult.RESTORED)
"""Results of increments that change a book, and of those that do not. RESTORED is followed by `on_book`."""


class StreamViews:
    """The views of one worker.

    Args:
        batch: the outboxes to flush.
    """

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self._views: dict[str, FollowedView] = {}  # by name
        self._of_stream: dict[str, list[FollowedView]] = {}  # by published stream
        # By name: views of books, and of other streams, that were not published yet.
        self._books_to_come: dict[str, Audience] = {}
        self._streams_to_come: dict[str, Audience] = {}
        self._latest: dict[str, LatestEvent] = {}  # by published stream
        self._wheel: TimerWheel[FollowedView] = TimerWheel(self._on_due)

    def __len__(self) -> int:
        """Return the number of names that clients follow."""
        return len(self._views) + len(self._books_to_come) + len(self._streams_to_come)

    def holds(self, name: str, view: View) -> bool:
        """Return whether a client follows a view, or its stream was published."""
        return name in self._views or name in self._to_come(view) or view.stream in self._latest

    def needs_book(self) -> bool:
        """Return whether a follower waits for a book."""
        return bool(self._books_to_come) or any(view.waits_for_book() for view in self._views.values())

    # ---- followers

    def subscribe(self, outbox: Outbox, name: str, view: View, sync: BookSync | None) -> tuple[bool, int]:
        """Add a follower. Put into its outbox what there is to send at once; the caller flushes it.

        Args:
            sync: of the view's book, if that was published.

        Returns:
            Whether the follower is new, and the number of frames.
        """
        outbox.keep_fresh()
        followed = self._views.get(name)
        if followed is None:
            latest = self._latest.get(view.stream)
            if sync is None and latest is None:
                return add_subscriber(self._to_come(view), name, outbox), 0
            followed = self._add(name, view, sync)
        is_new = outbox not in followed.followers
        followed.followers[outbox] = None
        followed.late.pop(outbox, None)
        frame = followed.first()
        if frame is None:
            followed.late[outbox] = None
            return is_new, 0
        if len(followed.followers) == 1:
            followed.next_at = time.monotonic() + followed.seconds
        _make_room(outbox, frame)
        outbox.put(frame)
        return is_new, 0 if outbox.closing else 1

    def unsubscribe(self, outbox: Outbox, name: str, view: View) -> bool:
        """Remove a follower. Return whether it was one."""
        followed = self._views.get(name)
        if followed is None:
            return remove_subscriber(self._to_come(view), name, outbox)
        if outbox not in followed.followers:
            return False
        del followed.followers[outbox]
        followed.late.pop(outbox, None)
        if not followed.followers:
            del self._views[name]
            rest = [other for other in self._of_stream[followed.stream] if other is not followed]
            if rest:
                self._of_stream[followed.stream] = rest
            else:
                del self._of_stream[followed.stream]
        return True

    def _to_come(self, view: View) -> dict[str, Audience]:
        return self._books_to_come if view.is_of_book else self._streams_to_come

    def _add(self, name: str, view: View, sync: BookSync | None) -> FollowedView:
        followed: FollowedView
        if sync is None:
            followed = LatestView(name, view, self._latest[view.stream])
        else:
            followed = (TopView if view.kind is ViewKind.TOP else ChangesView)(name, view, sync)
        self._views[name] = followed
        self._of_stream.setdefault(view.stream, []).append(followed)
        return followed

    # ---- events

    def on_event(self, stream: str, body: bytes) -> bool:
        """A stream other than `-inc` was published. Return whether its views sent anything."""
        latest = self._latest.get(stream)
        if latest is None:
            if len(self._latest) >= MOST_REMEMBERED and not self._streams_to_come:
                return False
            latest = self._latest[stream] = LatestEvent()
            self.on_published(stream, None)
        followed = self._of_stream.get(stream)
        latest.body = body if followed is not None or len(body) <= LARGEST_REMEMBERED else None
        latest.at = time.monotonic()
        return followed is not None and self._send(followed)

    def on_published(self, stream: str, sync: BookSync | None) -> None:
        """A stream is published for the first time: its views begin."""
        to_come = self._streams_to_come if sync is None else self._books_to_come
        for name in view_names(stream) if to_come else ():
            audience = to_come.pop(name, None)
            view = view_of(name)
            if audience is not None and view is not None:
                followed = self._add(name, view, sync)
                followed.followers.update(dict.fromkeys(subscribers(audience)))
                followed.late.update(followed.followers)

    def on_increment(self, stream: str, result: SyncResult, change: Change | None) -> bool:
        """An increment of a book came. Return whether its views sent anything."""
        followed = self._of_stream.get(stream)
        if followed is None or result in _UNCHANGED:
            return False
        for view in followed:
            if isinstance(view, ChangesView):
                if result in _CHANGED and change is not None:
                    view.add(change)
                else:
                    view.forget()
        return self._send(followed)

    def on_book(self, stream: str) -> bool:
        """A book was replaced by another one. Return whether its views sent anything."""
        followed = self._of_stream.get(stream)
        if followed is None:
            return False
        for view in followed:
            if isinstance(view, ChangesView):
                view.forget()
        return self._send(followed)

    # ---- sending

    def _send(self, views: Iterable[FollowedView]) -> bool:
        """Send what may be sent now; leave the rest to the timer. Return whether anything was sent."""
        now, sent = time.monotonic(), False
        for view in views:
            if now >= view.next_at:  # even if the timer is set for followers that are late
                sent = self._send_view(view, now) or sent
            else:
                self._schedule(view, view.next_at)
        return sent

    def _schedule(self, view: FollowedView, when: float) -> None:
        """Let the timer send a view at this monotonic time, unless it will send it anyway."""
        if not view.scheduled:
            view.scheduled = True
            self._wheel.add(when, view)

    def _on_due(self, views: list[FollowedView]) -> None:
        now = time.monotonic()
        for view in views:
            view.scheduled = False
            if now < view.next_at - TOGETHER:  # it was sent before the timer was due
                self._schedule(view, view.next_at)
            else:
                self._send_view(view, now)
        self._batch.flush()

    def _send_view(self, view: FollowedView, now: float) -> bool:
        """Put a view's news into the outboxes of its followers, except those whose socket accepts nothing more."""
        if not view.followers:
            return False
        news, catch_up = view.take()
        returning = [] if catch_up is None else [outbox for outbox in view.late if _takes(outbox)]
        if news is not None:
            for outbox in view.followers:
                if not _takes(outbox):
                    view.late[outbox] = None
            in_time = [outbox for outbox in view.followers if outbox not in view.late] if view.late else view.followers
            self._batch.put(news, in_time)
        if catch_up is not None and returning:
            for outbox in returning:
                del view.late[outbox]
                _make_room(outbox, catch_up)
            self._batch.put(catch_up, returning)
        sent = news is not None or bool(returning)
        if news is not None or len(returning) == len(view.followers):  # others do not wait for one that returns
            view.next_at = now + view.seconds
        if view.late and (news is not None or catch_up is not None):
            self._schedule(view, now + view.seconds)
        return sent


def _takes(outbox: Outbox) -> bool:
    """Return whether a follower's socket accepts frames, and the batch has not too much for it already."""
    return not outbox.size and outbox.has_room()


def _make_room(outbox: Outbox, first: bytes) -> None:
    """Raise the limit of an outbox, as for subscribers of the book itself: the view may begin with the book."""
    outbox.limit = max(outbox.limit, BOOKS_OF_ROOM * len(first))
