"""Requests to handlers: `request()` of both Python clients."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from peatio_client import PeatioClient, RequestFailed
from peatio_client._lines import MOST_BACKLOG
from peatio_client._pace import A_SECOND, AT_ONCE
from peatio_client._requests import MOST_GIVEN_UP, Requests

from peatio_ws import ClientError, testing
from tests.unit.client.served import KINDS, WAIT, Either, Gateway, gateway, play

both = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture
def server() -> Iterator[Gateway]:
    with gateway() as server:
        yield server


def doubled(message: dict[str, Any]) -> list[Any]:
    """Two events, and then the answer."""
    number = message["number"]
    events = [{"order": {"id": number + more}, "cursor": f"c{number + more}"} for more in (1, 2)]
    return [*events, {"success": {"double": 2 * number}, "echo": message["echo"]}]


@both
def test_answers_come_to_a_callback_and_events_follow_in_order(kind: str, server: Gateway) -> None:
    async def scenario(client: Either) -> None:
        async def ask(_: object) -> None:
            answers.append(await client.request("double", {"number": 20}))

        client.on("connected", ask)
        answers.append(await client.next())
        answers.append(await client.request("double", {"number": 30}))
        taken.extend([await client.next() for _ in range(3)])

    answers, taken = list[Any](), list[Any]()
    server.reply = doubled
    play(kind, server.url, scenario)
    assert answers[0] == {"success": {"double": 40}}
    assert answers[1].data == {"id": 21}
    assert answers[2] == {"success": {"double": 60}}
    assert [event.data["id"] for event in taken] == [22, 31, 32]
    assert [event.cursor for event in taken] == ["c22", "c31", "c32"]


@both
def test_a_request_may_wait_without_a_limit(kind: str, server: Gateway) -> None:
    async def scenario(client: Either) -> None:
        async def ask(_: object) -> None:
            answers.append(await client.request("double", {"number": 20}, timeout=math.inf))

        client.on("connected", ask)
        assert await client.next(math.inf) is not None
        if kind == "blocking":
            request = client.client.request
            other = threading.Thread(target=lambda: answers.append(request("double", {"number": 20}, math.inf)))
            other.start()
            while other.is_alive():
                with contextlib.suppress(TimeoutError):
                    await client.next(0.01)

    answers = list[Any]()
    server.reply = doubled
    play(kind, server.url, scenario)
    assert answers == [{"success": {"double": 40}}] * (2 if kind == "blocking" else 1)


def test_another_thread_may_ask(server: Gateway) -> None:
    server.reply = doubled
    connected = threading.Event()
    with PeatioClient(server.url, "token") as client:
        client.on("connected", lambda _: connected.set())
        running = threading.Thread(target=client.run)
        running.start()
        assert connected.wait(WAIT)
        answers = [client.request("double", {"number": number}, WAIT)["success"]["double"] for number in range(5)]
    running.join(WAIT)
    assert answers == [0, 2, 4, 6, 8]


@both
def test_an_answer_that_is_an_error_is_raised(kind: str, server: Gateway) -> None:
    async def scenario(client: Either) -> None:
        async def ask(_: object) -> None:
            for expected in ("no such market", "Not authenticated."):
                with pytest.raises(RequestFailed, match=expected):
                    await client.request("cancel_all")
            await client.request("then")

        client.on("connected", ask)
        assert await client.next() is not None

    errors: list[Any] = ["no such market", {"message": "Not authenticated."}]

    def reply(message: dict[str, Any]) -> list[Any]:
        if message["event"] == "then":
            return [{"done": 1, "echo": message["echo"]}, {"order": {"id": 1}}]
        return [{"error": errors.pop(0), "echo": message["echo"]}]

    server.reply = reply
    play(kind, server.url, scenario)


@both
def test_no_answer_and_no_connection_are_errors(kind: str, server: Gateway) -> None:
    async def scenario(client: Either) -> None:
        with pytest.raises(ConnectionError, match="not connected"):
            await client.request("any")

        async def ask(_: object) -> None:
            if not tried:
                tried.append(1)
                with pytest.raises(TimeoutError, match=r"'nothing' was not answered within 0\.02 s"):
                    await client.request("nothing", timeout=0.02)
                with pytest.raises(ConnectionError, match="ended before the answer"):
                    await client.request("restart")
            else:
                await client.request("event")

        client.on("connected", ask)
        event = await client.next()
        assert event is not None

    tried = list[int]()
    replies: dict[str, list[Any]] = {"nothing": [], "restart": [None]}

    def reply(message: dict[str, Any]) -> list[Any]:
        return replies.get(message["event"], [{"order": {"id": 1}}, {"done": 1, "echo": message["echo"]}])

    server.reply = reply
    play(kind, server.url, scenario)


@both
def test_requests_keep_the_pace_of_messages(kind: str, server: Gateway) -> None:
    async def scenario(client: Either) -> None:
        client.client._course._clock = lambda: now[0]

        async def ask(_: object) -> None:
            for number in range(AT_ONCE):
                await client.request("double", {"number": number})
            with pytest.raises(TimeoutError, match="'double' was not answered"):
                await client.request("double", {"number": 100}, timeout=0.01)
            now[0] += 2 / A_SECOND
            for number in (200, 300):
                await client.request("double", {"number": number})
            server.push(1)

        client.on("connected", ask)
        assert await client.next() is not None

    now, asked = [1000.0], list[int]()

    def reply(message: dict[str, Any]) -> list[Any]:
        asked.append(message["number"])
        return [{"done": 1, "echo": message["echo"]}]

    server.reply = reply
    play(kind, server.url, scenario)
    assert asked == [*range(AT_ONCE), 200, 300]


@both
def test_a_real_gateway_passes_a_request_to_its_handler(kind: str) -> None:
    async def scenario(client: Either) -> None:
        async def ask(_: object) -> None:
            answers.append(await client.request("double", {"number": 20}))
            with pytest.raises(RequestFailed, match="no number"):
                await client.request("double")
            real.publisher.to_member("IDANN", "order", {"id": 1})

        client.on("connected", ask)
        assert (await client.next()) is not None

    application, answers = testing.gateway(), list[Any]()

    @application.on("double")
    def double(session: Any, message: dict[str, Any]) -> None:
        if "number" not in message:
            raise ClientError("no number")
        session.reply({"success": {"double": 2 * message["number"]}})

    with testing.serve(application) as real:
        play(kind, real.url + "/", scenario, token=real.token("IDANN"))
    assert answers == [{"success": {"double": 40}}]


def test_another_echo_is_no_answer() -> None:
    requests, settled = Requests(), list[Any]()
    number, _ = requests.ask("any", {}, settled.append)
    assert not requests.take('{"done":1,"echo":"other"}')
    assert not requests.take('{"echo":')
    assert not requests.take('{"order":{"note":"\\"echo\\""}}')
    assert requests.take('{"done":1,"echo":1}')
    assert settled == [{"done": 1}]
    requests.forget(number)
    assert not requests.take('{"done":2,"echo":1}'), "a handler may reply twice"


@both
@pytest.mark.parametrize("late", [{"price": "1"}, {"success": "cancelled"}, {"error": "no such order"}])
def test_a_late_answer_is_dropped(kind: str, server: Gateway, late: dict[str, Any]) -> None:
    async def scenario(client: Either) -> None:
        async def note(what: object) -> None:
            told.append(what)

        async def ask(_: object) -> None:
            with pytest.raises(TimeoutError):
                await client.request("slow", timeout=0.01)
            await client.request("then")

        for name in ("error", "disconnected"):
            client.on(name, note)
        client.on("connected", ask)
        event = await client.next()
        assert event is not None
        assert event.stream == "order"

    def reply(message: dict[str, Any]) -> list[Any]:
        asked.append(message["echo"])
        if message["event"] == "slow":
            return []
        return [{**late, "echo": asked[0]}, {"done": 1, "echo": asked[1]}, {"order": {"id": 1}}]

    asked, told = list[int](), list[object]()
    server.reply = reply
    play(kind, server.url, scenario)
    assert told == []


@both
def test_a_request_that_too_many_frames_precede_says_so(kind: str, server: Gateway) -> None:
    async def scenario(client: Either) -> None:
        async def ask(_: object) -> None:
            with pytest.raises(TimeoutError, match=r"^'slow': 1000 frames came before the answer; "):
                await client.request("slow")

        client.on("connected", ask)
        for number in range(MOST_BACKLOG):
            event = await client.next()
            assert event is not None
            assert event.data["id"] == number

    server.reply = lambda _: [{"order": {"id": number}} for number in range(MOST_BACKLOG)]
    play(kind, server.url, scenario)


def test_few_numbers_of_late_answers_are_kept() -> None:
    requests = Requests()
    for _ in range(MOST_GIVEN_UP + 1):
        requests.forget(requests.ask("any", {}, print)[0])
    assert [requests.take(f'{{"done":1,"echo":{number}}}') for number in (1, 2, 2)] == [False, True, True]
    requests.lose()
    assert not requests.take('{"done":1,"echo":3}'), "the answer to another connection"


@pytest.mark.parametrize("event", ["subscribe", "unsubscribe"])
def test_events_of_the_gateway_are_not_requests(event: str) -> None:
    with pytest.raises(ValueError, match="use the method"):
        Requests().ask(event, {}, print)
