"""The clients of `clients/` against a real gateway, with programs that use them in unusual ways."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

from peatio_client import AsyncPeatioClient, PeatioClient

from tests.support.gateway import WAIT, GatewayProcess, Publisher, Signer
from tests.support.servers import wait_until

MARKETS = [f"market{number}" for number in range(150)]


def soon(signer: Signer, uid: str) -> str:
    """A token that has to be renewed about two seconds from now."""
    return signer.token(uid, exp=int(time.time()) + 4)


class Hanging:
    """Gives one token, and then none until it is let."""

    def __init__(self, signer: Signer, uid: str) -> None:
        self.asked, self.let = threading.Event(), threading.Event()
        self._signer, self._uid, self._first = signer, uid, True

    def __call__(self) -> str:
        if self._first:
            self._first = False
            return soon(self._signer, self._uid)
        self.asked.set()
        self.let.wait(WAIT)
        return self._signer.token(self._uid)


def test_events_come_while_a_token_hangs_and_it_may_be_closed(
    gateway: GatewayProcess, publisher: Publisher, signer: Signer
) -> None:
    token, got, errors = Hanging(signer, "IDHANGING"), list[int](), list[Any]()
    client = PeatioClient(gateway.url, token=token)
    client.on("order", lambda event: got.append(event.data["id"])).on("error", errors.append)
    raised = list[BaseException]()

    def run() -> None:
        try:
            client.run()
        except BaseException as error:
            raised.append(error)

    running = threading.Thread(target=run)
    running.start()
    assert token.asked.wait(WAIT)
    for number in range(3):
        publisher.order("IDHANGING", number)
    wait_until(lambda: got == [0, 1, 2], "events go on")
    client.close()
    running.join(WAIT)
    assert not running.is_alive(), "though the token has not come"
    token.let.set()
    assert (raised, errors, client.state) == ([], [], "closed")


def test_a_client_may_be_closed_while_it_gives_a_token(gateway: GatewayProcess, signer: Signer) -> None:
    """By the function that gives tokens, too."""

    def token() -> str:
        asked.append(1)
        if len(asked) > 1:
            client.close()
        return soon(signer, "IDCLOSING")

    asked = list[int]()
    client = PeatioClient(gateway.url, token=token)
    client.run()
    assert client.state == "closed"


def test_the_same_with_asyncio(gateway: GatewayProcess, publisher: Publisher, signer: Signer) -> None:
    async def use() -> list[int]:
        asked, tokens, got = asyncio.Event(), [soon(signer, "IDASLEEP")], list[int]()

        async def token() -> str:
            if tokens:
                return tokens.pop()
            asked.set()
            await asyncio.sleep(WAIT)
            raise AssertionError("it was closed long ago")

        client = AsyncPeatioClient(gateway.url, token=token)
        client.on("order", lambda event: got.append(event.data["id"]))
        running = asyncio.ensure_future(client.run())
        await asyncio.wait_for(asked.wait(), WAIT)
        for number in range(3):
            await asyncio.to_thread(publisher.order, "IDASLEEP", number)
        while len(got) < 3:
            await asyncio.sleep(0.01)
        await client.close()
        await asyncio.wait_for(running, WAIT)
        return got

    assert asyncio.run(asyncio.wait_for(use(), WAIT)) == [0, 1, 2]


def test_a_hundred_and_fifty_books_one_by_one_on_an_open_line(
    gateway: GatewayProcess, publisher: Publisher, signer: Signer
) -> None:
    with PeatioClient(gateway.url, token=lambda: signer.token("IDBOOKISH")) as client:
        ends, connected = list[Any](), threading.Event()
        client.on("disconnected", ends.append).on("connected", lambda _: connected.set())
        running = threading.Thread(target=client.run)
        running.start()
        assert connected.wait(WAIT)
        books = [client.book(market) for market in MARKETS]
        for market in MARKETS:
            publisher.event(f"public.{market}.ob-snap", {"asks": [["1", "1"]], "sequence": 1})
        wait_until(lambda: all(book.current for book in books), "all of them are right")
        assert ends == []
    running.join(WAIT)


def test_too_many_messages_are_no_end(
    start: Callable[..., GatewayProcess], publisher: Publisher, signer: Signer
) -> None:
    """At a gateway that allows fewer than clients think."""
    gateway = start(WEBSOCKET_MESSAGE_BURST="4", WEBSOCKET_MESSAGE_RATE="1")
    with PeatioClient(gateway.url, token=lambda: signer.token("IDFAST")) as client:
        ends, connected = list[Any](), threading.Event()
        client.on("disconnected", ends.append).on("connected", lambda _: connected.set())
        running = threading.Thread(target=client.run)
        running.start()
        assert connected.wait(WAIT)
        books = [client.book(market) for market in MARKETS[:40]]
        wait_until(lambda: bool(ends), "the gateway hangs up")
        assert (ends[0].code, ends[0].pause >= 5) == (1008, True)
        for market in MARKETS[:40]:
            publisher.event(f"public.{market}.ob-snap", {"asks": [["1", "1"]], "sequence": 1})
        wait_until(lambda: all(book.current for book in books), "it came back", 90)
    running.join(WAIT)
