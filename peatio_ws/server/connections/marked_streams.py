"""How a client begins to receive streams of trades with marks (docs/protocol.md, "Trades across a cut").

Runs in the client's own greenlet.

What a mark is, and which events follow it, is in `routing/trade_history.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from peatio_ws.concurrency.yielding import let_others_run
from peatio_ws.protocol import encoding
from peatio_ws.protocol.actions import Follow
from peatio_ws.protocol.stream_syntax import is_trades
from peatio_ws.routing.router import Router
from peatio_ws.server.context import WorkerContext
from peatio_ws.transport.outbox import Outbox


def prepare(router: Router, names: Iterable[str]) -> list[str]:
    """Make the marks of the streams of trades, so that `begin` takes no time. Return the other streams. May wait."""
    others = []
    for name in names:
        if is_trades(name):
            let_others_run()
            router.channels.marked.prepare(name)
        else:
            others.append(name)
    return others


def follow(router: Router, outbox: Outbox, action: Follow, send_reply: Callable[[bytes], None]) -> None:
    """Send the reply, what the client missed, and the streams from then on."""
    payload, missed = begin(router, outbox, action)
    send_reply(encoding.with_echo(payload, action.echo))
    send(outbox, missed)


def begin(router: Router, outbox: Outbox, follow: Follow) -> tuple[bytes, bytes]:
    """Send a client these streams from now on. Return the reply, and the frames that the client missed.

    Never waits. The caller puts both into the outbox without waiting in between, so that the client learns that events
    are missing before it receives a newer one.
    """
    marked, missed = router.channels.marked, list[bytes]()
    complete, marks = dict.fromkeys(follow.lacking, False), dict[str, str]()
    room = outbox.limit // 2 - outbox.size
    for name, mark in follow.streams:
        router.channels.follow(outbox, name)
        frames = None if mark is None else marked.since(name, mark, room)
        if mark is not None:
            complete[name] = frames is not None
        if frames is not None:
            missed += frames
            room -= sum(map(len, frames))
        elif newest := marked.mark(name):
            marks[name] = newest
    router.batch.count(len(missed))
    return encoding.with_marks(follow.payload, complete, marks), b"".join(missed)


def send(outbox: Outbox, missed: bytes) -> None:
    """Send the frames that `begin` returned."""
    if missed:
        outbox.put(missed)
        outbox.flush()


def keep_for_return(context: WorkerContext, marks: bool, names: Iterable[str]) -> None:
    """Keep the streams of trades of a client that leaves them, if it has marks: it may come back for those of the
    meantime."""
    for name in names:
        if marks and is_trades(name) and context.router.channels.marked.has_history(name):
            context.interest.keep_stream(name)
