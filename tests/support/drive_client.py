"""Runs a client of `clients/python`, `blocking` or `asyncio`, by the JSON in its second argument. Prints each callback
of the client as one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from peatio_client import AsyncPeatioClient, Book, Event, PeatioClient, Refused

kind, given = sys.argv[1], json.loads(sys.argv[2])
tokens: list[str] | None = given.get("tokens")


def tell(name: str, what: Any) -> None:
    print(json.dumps([name, what]), flush=True)


def next_token() -> str:
    assert tokens is not None
    return tokens.pop(0) if len(tokens) > 1 else tokens[0]


def tell_book(name: str, book: Book) -> None:
    sides = [[[str(price), str(volume)] for price, volume in side] for side in (book.asks, book.bids)]
    tell(name, [book.sequence, *sides])


def fails_once(event: Event) -> bool:
    """Return whether this callback has to fail, once."""
    if given.get("stumble") != event.data["id"]:
        return False
    del given["stumble"]
    return True


def take(event: Event) -> bool:
    """Return whether it was the last one."""
    if fails_once(event):
        raise ArithmeticError("stumbled")
    tell("event", event.data["id"])
    return bool(given.get("until") == event.data["id"])


def is_held() -> bool:
    """Return whether callbacks have to wait, as slow ones do."""
    return "hold" in given and not Path(given["hold"]).exists()


def prepare(client: PeatioClient | AsyncPeatioClient) -> None:
    client.on("gap", lambda cursor: tell("gap", cursor))
    client.on("resumed", lambda end: tell("resumed", end.complete))
    client.on("missed", lambda stream: tell("missed", stream))
    client.on("connected", lambda streams: tell("connected", streams))
    client.on("disconnected", lambda end: tell("disconnected", [end.code, end.reason, end.pause]))
    client.on("error", lambda message: tell("error", message))
    client.on("book", lambda book: tell_book("book", book))
    if "again" in given:
        client.on("book", change_view_of(client))
    client.on("stale", lambda book: tell_book("stale", book))
    if given.get("notices"):
        client.on("notice", lambda notice: tell("notice", notice))


NAMES = ("streams", "cursor", "silence", "headers", "books", "every", "depth")


def change_view_of(client: Any) -> Any:
    """Return a callback that asks for the pace and depth in `again`, once the book has the sequence in it."""

    def change(book: Book) -> Any:
        return client.book(book.name, **given["again"]["view"]) if book.sequence == given["again"]["at"] else None

    return change


options = {name: given[name] for name in NAMES if name in given}
heard = given.get("on", "order")


def drive() -> None:
    def take_and_close(event: Event) -> None:
        while is_held():
            time.sleep(0.05)
        if take(event):
            client.close()

    client = PeatioClient(given["url"], token=next_token if tokens else None, **options)
    prepare(client)
    client.on(heard, take_and_close)
    while client.state != "closed":
        try:
            client.run()
        except ArithmeticError as error:
            tell("raised", str(error))
        except Refused as refused:
            tell("refused", str(refused))
            break
    tell("ended", client.state)


async def drive_on_a_loop() -> None:
    async def token() -> str:
        return next_token()

    async def take_and_close(event: Event) -> None:
        while is_held():
            await asyncio.sleep(0.05)
        if take(event):
            await client.close()

    client = AsyncPeatioClient(given["url"], token=token if tokens else None, **options)
    prepare(client)
    client.on(heard, take_and_close)
    while client.state != "closed":
        try:
            await client.run()
        except ArithmeticError as error:
            tell("raised", str(error))
        except Refused as refused:
            tell("refused", str(refused))
            break
    tell("ended", client.state)


if kind == "asyncio":
    asyncio.run(drive_on_a_loop())
else:
    drive()
