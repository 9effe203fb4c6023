"""The interface of both Python clients: callbacks, `next`, options and the log."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import peatio_client
import pytest
from peatio_client import AsyncPeatioClient, Disconnected, Event, NoToken, PeatioClient, Refused, _aio_line, _lines
from peatio_client._commands import Wait

from tests.support.certificate import Certificate
from tests.unit.client.served import KINDS, WAIT, Either, Gateway, gateway, play

both = pytest.mark.parametrize("kind", KINDS)
PUBLIC = "ws://gateway.example/?stream=btcusd.trades"
SECRET, PAYLOAD = "secret-token", 424242


@pytest.fixture
def server() -> Iterator[Gateway]:
    with gateway() as server:
        yield server


def called(client: Any, name: str, what: object = None) -> list[object]:
    return [callback(what) for callback in client._called(name, what)]


def test_decorators_register_and_off_removes() -> None:
    client = PeatioClient(PUBLIC)

    @client.on("order")
    @client.once("trade")
    def first(event: Event) -> str:
        return "first"

    def second(event: object) -> str:
        return "second"

    assert client.on("order", second) is client
    assert called(client, "order") == ["first", "second"]
    assert called(client, "trade") == ["first"]
    assert called(client, "trade") == []
    assert called(client.off("order", first), "order") == ["second"]
    assert called(client.on("order", first).off("order").off("order"), "order") == []
    with pytest.raises(ValueError, match="unknown name 'orders'"):
        client.once("orders", second)


def test_a_callback_that_fails_is_not_used_up() -> None:
    client = PeatioClient(PUBLIC).once("order", lambda what: 1 / what)
    with pytest.raises(ZeroDivisionError):
        called(client, "order", 0)
    assert called(client, "order", 1) == [1]
    assert called(client, "order", 1) == []


@both
def test_next_waits_for_a_while_and_loses_nothing(kind: str, server: Gateway) -> None:
    async def scenario(client: Either) -> None:
        while not connected:
            with pytest.raises(TimeoutError, match=r"no event within 0\.01 s"):
                await client.next(0.01)
        server.push(1, 2)
        taken = [await client.next(), await client.next()]
        assert [event.data["id"] for event in taken if event] == [1, 2]
        with pytest.raises(TimeoutError):
            await client.next(0)
        await client.close()
        assert await client.next() is None

    connected = list[Any]()

    async def scenario_with_callback(client: Either) -> None:
        async def note(streams: object) -> None:
            connected.append(streams)

        client.on("connected", note)
        await scenario(client)

    play(kind, server.url, scenario_with_callback)
    assert len(connected) == 1


def test_loop_that_is_cancelled_after_next_gave_up_loses_nothing(server: Gateway) -> None:
    async def scenario(client: Either) -> None:
        one = client.client
        while one.state != "connected" or one._pending is None:
            with contextlib.suppress(TimeoutError):
                await client.next(0.01)
        # The event arrives at the moment at which the loop is cancelled.
        one._pending.add_done_callback(lambda _: loop.cancel())
        loop = asyncio.ensure_future(anext(one))
        await asyncio.sleep(0)
        server.push(1, 2)
        with pytest.raises(asyncio.CancelledError):
            await loop
        taken.extend([await client.next(), await anext(one)])

    taken = list[Any]()
    play("asyncio", server.url, scenario)
    assert [event.cursor for event in taken] == ["c1", "c2"]


def test_a_pause_goes_on_in_the_next_loop_after_one_that_was_cancelled(server: Gateway) -> None:
    async def scenario(client: Either) -> None:
        one = client.client
        one.on("disconnected", ends.append)
        while len(ends) < 4:
            loop = asyncio.ensure_future(anext(one))
            while not isinstance(one._command, Wait):
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.01)
            loop.cancel()
            with pytest.raises(asyncio.CancelledError):
                await loop

    ends = list[Any]()
    server.refusal = (500, "text/plain", "no")
    play("asyncio", server.url, scenario, longest_pause=0.5)


def test_callback_that_has_returned_is_not_called_again_after_a_cancelled_loop(server: Gateway) -> None:
    calls = list[str]()

    async def second(_: object) -> None:
        calls.append("second")
        if len(calls) == 2:
            loop.cancel()
            await asyncio.Event().wait()

    async def scenario(client: Either) -> None:
        nonlocal loop
        one = client.client
        one.on("connected", lambda _: server.push(1)).on("order", lambda _: calls.append("first")).on("order", second)
        loop = asyncio.ensure_future(anext(one))
        with pytest.raises(asyncio.CancelledError):
            await loop
        assert (await anext(one)).cursor == "c1"
        server.push(2)
        assert (await anext(one)).cursor == "c2"

    loop: asyncio.Future[Any]
    play("asyncio", server.url, scenario)
    assert calls == ["first", "second", "second", "first", "second"]


def test_callback_that_was_cancelled_does_not_close_the_client(server: Gateway) -> None:
    calls = list[str | None]()

    async def scenario(client: Either) -> None:
        one = client.client

        async def take(event: Event) -> None:
            calls.append(event.cursor)
            if len(calls) == 1:  # what the callback awaits was cancelled by another part of the program
                lost = asyncio.get_running_loop().create_future()
                lost.cancel()
                await lost
            if event.cursor == "c2":
                await one.close()

        one.on("connected", lambda _: server.push(1)).on("order", take)
        with pytest.raises(asyncio.CancelledError):
            await one.run()
        server.push(2)
        await one.run()

    play("asyncio", server.url, scenario)
    assert calls == ["c1", "c1", "c2"]


def test_callback_that_was_removed_after_a_cancelled_loop_is_not_called(server: Gateway) -> None:
    calls = list[str]()

    async def hang(_: object) -> None:
        calls.append("hang")
        loop.cancel()
        await asyncio.Event().wait()

    async def scenario(client: Either) -> None:
        nonlocal loop
        one = client.client
        one.on("connected", lambda _: server.push(1)).on("order", hang).on("order", lambda _: calls.append("next"))
        loop = asyncio.ensure_future(anext(one))
        with pytest.raises(asyncio.CancelledError):
            await loop
        one.off("order", hang)
        assert (await anext(one)).cursor == "c1"

    loop: asyncio.Future[Any]
    play("asyncio", server.url, scenario)
    assert calls == ["hang", "next"]


def test_an_attempt_to_connect_goes_on_in_the_next_loop() -> None:
    ends, attempts = list[Disconnected](), list[Any]()

    async def scenario() -> None:
        silent = await asyncio.start_server(lambda *streams: attempts.append(streams), "127.0.0.1", 0)
        port = silent.sockets[0].getsockname()[1]
        async with AsyncPeatioClient(f"ws://127.0.0.1:{port}/", streams=["btcusd.trades"], proxy=None) as client:
            client.on("disconnected", ends.append)

            async def loop() -> None:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(anext(client), 0.01)

            while not attempts:
                await loop()
            for _ in range(5):
                await loop()
            assert len(attempts) == 1
            attempts[0][1].close()
            while not ends:
                await loop()
        silent.close()

    asyncio.run(asyncio.wait_for(scenario(), WAIT))
    assert [end.code for end in ends] == [1006]


def test_close_ends_an_attempt_to_connect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_lines, "OPEN_SECONDS", 2 * WAIT)

    async def scenario() -> None:
        reached = asyncio.Event()
        silent = await asyncio.start_server(lambda *_: reached.set(), "127.0.0.1", 0)
        port = silent.sockets[0].getsockname()[1]
        client = AsyncPeatioClient(f"ws://127.0.0.1:{port}/", streams=["btcusd.trades"], proxy=None)
        client.on("disconnected", ends.append)
        running = asyncio.ensure_future(client.run())
        await reached.wait()
        await client.close()
        await running
        silent.close()

    ends = list[object]()
    asyncio.run(asyncio.wait_for(scenario(), WAIT))
    assert not ends


@both
def test_next_returns_while_it_waits_for_a_token_and_between_attempts(kind: str, server: Gateway) -> None:
    async def scenario(client: Either) -> None:
        async def note(end: object) -> None:
            ends.append(end)

        client.on("disconnected", note)
        while len(ends) < 2:
            with pytest.raises(TimeoutError):
                await client.next(0.01)
        server.refusal = None
        while len(server.headers) < 3:
            with pytest.raises(TimeoutError):
                await client.next(0.01)
        while client.client.state != "connected":
            with pytest.raises(TimeoutError):
                await client.next(0.01)
        server.push(1)
        assert await client.next() is not None

    ends = list[Any]()
    server.refusal = (502, "text/html", "<h1>Bad gateway</h1>")
    play(kind, server.url, scenario)
    assert [end.reason for end in ends] == ["HTTP 502"] * 2


@both
def test_headers_tls_and_tokens_go_with_the_handshake(kind: str, tmp_path: Path) -> None:
    certificate = Certificate(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate.cert, certificate.key)

    async def scenario(client: Either) -> None:
        while client.client.state != "connected":
            with pytest.raises(TimeoutError):
                await client.next(0.01)

    with gateway(tls) as server:
        options = {"headers": {"Cookie": "session=1"}, "ssl": certificate.trusted(), "proxy": None}
        play(kind, server.url, scenario, **options)
        play(kind, server.url, scenario, token=None, authenticated="by the proxy", **options)
    assert [headers.get("authorization") for headers in server.headers] == ["Bearer token", None]
    assert [headers["cookie"] for headers in server.headers] == ["session=1"] * 2


@both
def test_a_function_for_headers_is_called_for_each_connection(kind: str, server: Gateway) -> None:
    async def scenario(client: Either) -> None:
        async def note(message: object) -> None:
            told.append(message)

        client.on("error", note)
        client.on("disconnected", note)
        while len(server.headers) < 3:
            with pytest.raises(TimeoutError):
                await client.next(0.01)
            if client.client.state == "connected" and len(server.headers) < 3:
                with pytest.raises(ConnectionError):
                    await client.request("restart")

    def signed() -> dict[str, str]:
        nonces.append(len(nonces))
        if nonces[-1] == 1:
            raise NoToken("Barong is down")
        return {"X-Auth-Nonce": str(nonces[-1])}

    async def signed_later() -> dict[str, str]:
        return signed()

    nonces, told = list[int](), list[Any]()
    server.reply = lambda _: [None]
    play(kind, server.url, scenario, headers=signed if kind == "blocking" else signed_later)
    assert [headers["x-auth-nonce"] for headers in server.headers] == ["0", "2", "3"]
    assert [message for message in told if isinstance(message, str)] == ["no token: Barong is down"]


def test_the_readme_signs_as_barong_verifies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Barong: `APIKeysVerifier` (nonce and key, HMAC-SHA256 in hex); `Authorize` (the nonce: now in milliseconds)."""
    readme = (Path(__file__).parents[3] / "clients/python/README.md").read_text()
    (code,) = (block for block in readme.split("```") if "X-Auth-Signature" in block and block.startswith("python"))
    monkeypatch.setenv("API_KEY", "61d025b8573501c2")
    monkeypatch.setenv("API_SECRET", "2d0b4979c7fe6986daa8e21d1dc0644f")
    names: dict[str, Any] = {"PeatioClient": PeatioClient, "URL": "wss://exchange.example/api/v2/ranger/private"}
    exec("import hashlib, hmac, os, time\n" + code.removeprefix("python"), names)
    names["time"] = SimpleNamespace(time_ns=lambda: 1_584_524_005_143_999_999)
    assert names["signed"]() == {
        "X-Auth-Apikey": "61d025b8573501c2",
        "X-Auth-Nonce": "1584524005143",
        "X-Auth-Signature": "bd42b945e095880e28d046846dbecf655fdf09d95a396a24fe6fe1df42f15d13",  # of openssl dgst -hmac
    }


@both
@pytest.mark.parametrize(("given", "error"), [({"Authorization": "x"}, ValueError), (5, TypeError), (None, KeyError)])
def test_a_fault_of_the_function_for_headers_ends_the_client(
    kind: str, given: object, error: type[Exception], server: Gateway
) -> None:
    async def scenario(client: Either) -> None:
        with pytest.raises(error):
            await client.next()

    play(kind, server.url, scenario, headers=lambda: {}["key"] if given is None else given)
    assert server.headers == []


@both
def test_refused_text_as_token_ends_the_client_at_once(kind: str, server: Gateway) -> None:
    pauses = list[float | None]()

    async def note(end: Disconnected) -> None:
        pauses.append(end.pause)

    async def scenario(client: Either) -> None:
        client.on("disconnected", note)
        with pytest.raises(Refused, match="there is no other one"):
            await client.next()

    server.refusal = (401, "text/plain", "no")
    play(kind, server.url, scenario, token="old")
    assert pauses == [None]
    assert len(server.headers) == 1


def receive_one(server: Gateway, told: list[str], **options: Any) -> None:
    """Receive an event with an asyncio client, and append the errors that it reports to `told`."""

    async def scenario(client: Either) -> None:
        client.client.on("error", told.append).on("connected", lambda _: server.push(1))
        assert await client.next() is not None

    play("asyncio", server.url, scenario, longest_pause=0.5, **options)


@pytest.mark.parametrize(
    ("option", "result", "name"), [("token", "token", "token function"), ("headers", {}, "function for headers")]
)
def test_a_function_that_was_cancelled_is_called_again(server: Gateway, option: str, result: Any, name: str) -> None:
    calls, told = list[int](), list[str]()

    async def give() -> Any:
        calls.append(1)
        if len(calls) == 1:  # what the function awaits was cancelled by another part of the program
            refresh = asyncio.get_running_loop().create_future()
            refresh.cancel()
            await refresh
        return result

    receive_one(server, told, **{option: give})
    assert told == [f"no token: the {name} was cancelled"]


def test_a_token_function_that_close_cancelled_is_no_error(server: Gateway) -> None:
    told = list[str]()

    async def give() -> str:
        loop.cancel()
        await asyncio.Event().wait()
        return ""

    async def scenario(client: Either) -> None:
        nonlocal loop
        client.client.on("error", told.append)
        loop = asyncio.ensure_future(anext(client.client))
        with pytest.raises(asyncio.CancelledError):
            await loop
        await client.close()
        assert await client.next() is None

    loop: asyncio.Future[Any]
    play("asyncio", server.url, scenario, token=give)
    assert told == []


def test_a_long_call_for_headers_is_reported_and_continues(server: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, told = list[int](), list[str]()
    monkeypatch.setattr(_aio_line, "HEADERS_SECONDS", 0.01)

    async def give() -> dict[str, str]:
        calls.append(1)
        while len(told) < 2:
            await asyncio.sleep(0.001)
        return {"X-Signature": "late"}

    receive_one(server, told, headers=give)
    assert set(told) == {"no token: no headers within 0.01 s"}
    assert (len(calls), server.headers[0]["x-signature"]) == (1, "late")


def test_close_ends_a_call_for_headers(server: Gateway) -> None:
    async def give() -> dict[str, str]:
        called.set()
        await asyncio.Event().wait()
        return {}

    async def scenario(client: Either) -> None:
        running = asyncio.ensure_future(client.client.run())
        await called.wait()
        await client.close()
        await running

    called = asyncio.Event()
    play("asyncio", server.url, scenario, headers=give)


def test_close_ends_a_call_for_headers_that_was_given_up(server: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_aio_line, "HEADERS_SECONDS", 0.01)

    async def give() -> dict[str, str]:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return {}

    async def scenario(client: Either) -> None:
        client.client.on("disconnected", lambda _: paused.set())
        running = asyncio.ensure_future(client.client.run())
        await paused.wait()
        await client.close()
        await running
        await ended.wait()

    paused, ended = asyncio.Event(), asyncio.Event()
    play("asyncio", server.url, scenario, headers=give)


@both
def test_longest_pause_is_an_option(kind: str, server: Gateway) -> None:
    pauses = list[float]()

    async def note(end: Disconnected) -> None:
        assert end.pause is not None
        pauses.append(end.pause)

    async def scenario(client: Either) -> None:
        client.on("disconnected", note)
        while len(pauses) < 5:
            with contextlib.suppress(TimeoutError):
                await client.next(0.1)

    server.refusal = (500, "text/plain", "no")
    play(kind, server.url, scenario, longest_pause=0.5)
    assert max(pauses) <= 0.5


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"token": 5}, TypeError, "a string or a function"),
        ({"token": "Bearer x"}, ValueError, "leave out `Bearer`"),
        ({"token": "x", "authenticated": "by the proxy"}, ValueError, "not by both"),
        ({"authenticated": "somehow"}, ValueError, "by the proxy"),
        ({"token": "x", "headers": {"authorization": "x"}}, ValueError, "the option `token`"),
        ({"longest_pause": 0.4}, ValueError, "0.5 s or more"),
        ({"token": "x", "silence": 0}, ValueError, "more than 0 s"),
        ({"token": "x", "silence": float("nan")}, ValueError, "more than 0 s"),
        ({"token": "x", "ssl": ssl.create_default_context()}, ValueError, "wss://"),
    ],
)
def test_options_that_contradict_each_other(options: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        PeatioClient("ws://gateway.example/", **options)


@both
def test_the_log_tells_the_course_and_no_secret(kind: str, server: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(client: Either) -> None:
        async def push(_: object) -> None:
            server.push(PAYLOAD)

        client.on("connected", push)
        assert await client.next() is not None
        with pytest.raises(TimeoutError):
            await client.request("nothing", {"number": PAYLOAD}, 0)
        server.refusal = (403, "text/plain", "This origin is not among API_CORS_ORIGINS.")
        server.reply = lambda _: [None]
        with pytest.raises(ConnectionError):
            await client.request("restart")
        with pytest.raises(TimeoutError):
            await client.next(0.05)

    caplog.set_level(logging.DEBUG)
    play(kind, f"{server.url}?key={SECRET}", scenario, token=lambda: SECRET, headers={"Origin": "https://my.page"})
    records = [record for record in caplog.records if record.name != "websockets.server"]
    lines = "\n".join(f"{record.levelname} {record.name} {record.getMessage()}" for record in records)
    assert SECRET not in lines
    assert str(PAYLOAD) not in lines
    assert f"DEBUG peatio_client connecting to localhost:{server.port}" in lines
    assert "INFO peatio_client connected, 2 streams" in lines
    assert "WARNING peatio_client disconnected: 1012 restart; next attempt in" in lines


def test_the_version_is_that_of_the_package() -> None:
    assert peatio_client.__version__.count(".") == 2
