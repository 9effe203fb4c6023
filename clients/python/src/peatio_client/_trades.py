"""The marks of public trades, by which a client receives those that it missed. Knows no socket.

`docs/protocol.md` describes marks under "Trades across a cut". A gateway without marks ignores the requests; then each
reconnection may have missed trades.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from peatio_client.events import Event


def is_trades(stream: str) -> bool:
    return stream.endswith(".trades") and stream.count(".") == 1


class Trades:
    """The client's positions in streams of trades."""

    def __init__(self) -> None:
        # By subscribed stream: the mark of the last processed event; None without one.
        self._marks: dict[str, str | None] = {}
        self._asked = set[str]()  # streams whose missed events were requested

    def query(self, streams: Collection[str]) -> list[tuple[str, str]]:
        """Return the query parameters about marks, for an address that subscribes to these streams."""
        after = self._after(streams)
        if not after:
            return [("marks", "1")] if any(map(is_trades, streams)) else []
        return [("after", f"{stream}:{mark or ''}") for stream, mark in after.items()]

    def fields(self, streams: Collection[str]) -> dict[str, Any]:
        """Return the fields about marks, for a message that subscribes to these streams."""
        return {"after": self._after(streams)} if any(map(is_trades, streams)) else {}

    def take(self, streams: Collection[str], frame: Mapping[str, Any]) -> Iterator[str]:
        """Read the reply to a subscription. Yield the streams of which events may be missing.

        Args:
            streams: the subscribed ones.
        """
        complete, marks = frame.get("complete", {}), frame.get("marks", {})
        for stream in filter(is_trades, streams):
            if stream in self._asked:
                self._asked.remove(stream)
                if complete.get(stream) is True:
                    continue
                yield stream
            elif stream in self._marks:
                continue  # it was subscribed before
            self._marks[stream] = marks.get(stream)

    def seen(self, event: Event[Any]) -> None:
        """Record the mark of a processed event."""
        if event.stream in self._marks:
            self._marks[event.stream] = event.mark

    def drop(self, streams: Collection[str]) -> None:
        """Forget these streams. Call it when the client unsubscribes from them."""
        for stream in streams:
            self._marks.pop(stream, None)
            self._asked.discard(stream)

    def keep(self, streams: Collection[str]) -> None:
        """Forget all other streams: a new connection begins with these."""
        self.drop(self._marks.keys() - set(streams))

    def _after(self, streams: Collection[str]) -> dict[str, str | None]:
        known = {stream: self._marks[stream] for stream in streams if stream in self._marks}
        self._asked.update(known)
        return known
