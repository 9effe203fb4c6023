"""The callbacks of a client, by name. Knows no connection."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias

from peatio_client.events import CALLBACKS, Stream, StreamName

NAMES: Final = ("order", "trade", "balances", "deposit_address", *CALLBACKS)

Callback: TypeAlias = Callable[[Any], object]


class Callbacks:
    """Callbacks in the order in which they were registered."""

    def __init__(self) -> None:
        self._by_name: dict[str, list[tuple[Callback, bool]]] = {}

    def add(self, stream: StreamName, callback: Callback, once: bool) -> None:
        """Register a callback.

        Raises:
            ValueError: there is no such name.
        """
        name = str(stream)
        if isinstance(stream, Stream):
            if name in CALLBACKS:
                raise ValueError(f"{name!r}: another callback has the name of this stream; use 'event' for it")
        elif name not in NAMES and "." not in name:
            raise ValueError(f"unknown name {name!r}: neither a stream, which has a dot, nor one of {', '.join(NAMES)}")
        self._by_name[name] = [*self._by_name.get(name, ()), (callback, once)]

    def remove(self, stream: StreamName, callback: Callback | None) -> None:
        """Remove a callback; with None, all of this name. Idempotent."""
        name = str(stream)
        kept = [entry for entry in self._by_name.get(name, ()) if callback is not None and entry[0] != callback]
        self._by_name[name] = kept

    def has(self, name: str, callback: Callback | None = None) -> bool:
        """Return whether this callback is registered; with None, whether any is."""
        return any(callback in (None, entry[0]) for entry in self._by_name.get(name, ()))

    def of(self, name: str) -> Iterator[Callback]:
        """Yield the callbacks to call. Remove a callback of `once` after it has returned."""
        for entry in self._by_name.get(name, ()):
            if entry in self._by_name[name]:  # unless an earlier one removed it
                yield entry[0]
                if entry[1]:
                    self._by_name[name] = [other for other in self._by_name[name] if other is not entry]
