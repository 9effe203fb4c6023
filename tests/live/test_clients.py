"""The clients of `clients/` lose no order and repeat none, whatever happens to the connection and to the gateway."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import pytest
from peatio_client import AsyncPeatioClient, PeatioClient

from tests.live.test_published_keys import Issued, members
from tests.support.driving import COMMANDS, Driven, Line, closing_with
from tests.support.gateway import ROOT, WAIT, GatewayProcess, Publisher, Signer, receive
from tests.support.issuer import issuing
from tests.support.servers import RabbitMQ, free_port, wait_until

CLASSIC, RANGER = (), ("order", "btcusd.trades")
KINDS = [("python", CLASSIC), ("asyncio", RANGER), ("node", CLASSIC), ("node", RANGER), ("page", CLASSIC)]
"""Both protocols, of each of the two cores; and each way to have a line."""
TOKEN_SECONDS = 20
"""Of a token that has to be renewed in time by clients that have yet to start, on a machine that is busy."""
OLD = {"iat": 1}
"""Of a token that is not refused because of clocks."""
BLIND = ("page", CLASSIC)
"""Cannot ask a line for a sign of life."""

Drive = Callable[..., Driven]


@pytest.fixture(scope="module")
def gateway(folder: Path, broker: RabbitMQ, signer: Signer) -> Iterator[GatewayProcess]:
    environ = {"WEB_CONCURRENCY": "2", "WEBSOCKET_DRAIN_SECONDS": "0.5"}
    process = GatewayProcess(folder, {"AMQP_URL": broker.url, **signer.environ, **environ})
    yield process
    process.stop()


@pytest.fixture
def line(gateway: GatewayProcess) -> Iterator[Line]:
    line = Line(gateway.port)
    yield line
    line.end()


@pytest.fixture
def drive(node_modules: None) -> Iterator[Drive]:
    with contextlib.ExitStack() as running:

        def drive(language: str, url: str, **given: Any) -> Driven:
            driven = Driven(language, url, **given)
            running.callback(driven.close)
            return driven

        yield drive


@pytest.fixture
def everyone(line: Line, drive: Drive, signer: Signer) -> Callable[..., list[Driven]]:
    """Starts a client of each kind for this member, over `line`, and waits until all are connected."""

    def start_all(uid: str, but: object = None, **given: Any) -> list[Driven]:
        given["tokens"] = [signer.token(uid)]
        kinds = [kind for kind in KINDS if kind != but]
        clients = [drive(language, line.url, streams=streams, **given) for language, streams in kinds]
        for client in clients:
            client.wait_for("connected")
        return clients

    return start_all


class Flow:
    """Orders of a member, from 1 on, published one after the other until it is stopped."""

    def __init__(self, broker: RabbitMQ, uid: str) -> None:
        self.published = 0
        self._broker, self._uid, self._stop = broker, uid, threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        with Publisher(self._broker.url) as publisher:
            while not self._stop.wait(0.005):
                publisher.order(self._uid, self.published + 1)
                self.published += 1

    def __enter__(self) -> Flow:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(WAIT)


def cut_the_line(gateway: GatewayProcess, line: Line) -> None:
    line.cut()


def kill_workers(gateway: GatewayProcess, line: Line) -> None:
    for worker in gateway.workers():
        os.kill(worker, signal.SIGKILL)


def restart_workers(gateway: GatewayProcess, line: Line) -> None:
    os.kill(gateway.pid, signal.SIGHUP)


def restart(gateway: GatewayProcess, line: Line) -> None:
    gateway.restart()


@pytest.mark.parametrize(("harm", "times"), [(cut_the_line, 3), (kill_workers, 2), (restart_workers, 1), (restart, 1)])
def test_every_order_arrives_once(
    gateway: GatewayProcess,
    broker: RabbitMQ,
    line: Line,
    everyone: Callable[..., list[Driven]],
    harm: Callable[[GatewayProcess, Line], None],
    times: int,
) -> None:
    uid = f"ID{harm.__name__.upper()}"
    clients = everyone(uid)
    with Flow(broker, uid) as flow:
        for turn in range(times):
            for client in clients:
                client.wait_for_order(flow.published + 5)
            harm(gateway, line)
            for client in clients:
                client.wait_for("connected", turn + 2)
    for client in clients:
        client.wait_for_order(flow.published)
        assert client.orders == list(range(1, flow.published + 1))
        assert client.all("gap") == []
        assert client.wait_for("resumed") is True
        assert False not in client.all("resumed")


def test_listen_resumes_after_a_cut_and_reports_the_end_of_the_replay(
    line: Line, signer: Signer, publisher: Publisher
) -> None:
    command = [sys.executable, "-m", "peatio_ws", "listen", line.url, "--follow", "--count", "2"]
    command += ["--seconds", str(WAIT), "--token", signer.token("IDLISTEN")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as listening:
        assert listening.stdout is not None
        try:
            assert any("Authenticated" in text for text in listening.stdout)
            line.closed = True
            line.cut()
            publisher.order("IDLISTEN", 1)
            line.closed = False
            lines = list(itertools.takewhile(lambda text: not text.startswith("resumed"), listening.stdout))
            assert '"orderbook":{"id":1,' in lines[-1]
            publisher.order("IDLISTEN", 2)
            assert '"orderbook":{"id":2,' in listening.stdout.read()
            assert listening.wait(WAIT) == 0
        finally:
            listening.kill()  # unless it has ended


def test_a_dead_line_is_noticed(line: Line, publisher: Publisher, everyone: Callable[..., list[Driven]]) -> None:
    clients = everyone("IDDEAD", but=BLIND, silence=1.5)
    line.go_dead()
    publisher.order("IDDEAD", 1)
    for client in clients:
        client.wait_for_order(1)
        assert client.orders == [1]
        assert client.all("gap") == []


def test_a_quiet_line_is_left_alone(
    line: Line, signer: Signer, publisher: Publisher, everyone: Callable[..., list[Driven]]
) -> None:
    clients = everyone("IDQUIET", silence=6)
    time.sleep(7)  # the silence that is tested
    publisher.order("IDQUIET", 1)
    for client in clients:
        client.wait_for_order(1)
        assert len(client.all("connected")) == 1, client.told


@pytest.mark.parametrize("cursor", ["s.5.00000000", "forged"])
def test_a_cursor_that_means_nothing_is_a_gap_and_then_it_goes_on(
    line: Line, publisher: Publisher, everyone: Callable[..., list[Driven]], cursor: str
) -> None:
    clients = everyone("IDFORGED", cursor=cursor)
    for client in clients:
        assert client.wait_for("gap") not in (None, cursor)
        assert client.wait_for("resumed") is False
    publisher.order("IDFORGED", 1)
    for client in clients:
        client.wait_for_order(1)
    line.cut()
    publisher.order("IDFORGED", 2)
    for client in clients:
        client.wait_for_order(2)
        assert client.orders == [1, 2]
        assert len(client.all("gap")) == 1


def test_what_was_forgotten_is_a_gap(
    start: Callable[..., GatewayProcess], publisher: Publisher, drive: Drive, signer: Signer
) -> None:
    gateway = start(WEBSOCKET_RESUME_BYTES="10000")
    line = Line(gateway.port)
    clients = [drive(language, line.url, tokens=[signer.token("IDLONG")]) for language in COMMANDS]
    for client in clients:
        client.wait_for("connected")
    line.closed = True
    line.cut()
    with gateway.member(signer.token("IDWITNESS")) as witness:
        for number in range(100):
            publisher.order("IDLONG", number)
        publisher.order("IDWITNESS", 1)
        receive(witness)  # the gateway has read all of them, and forgotten the first: no client returns before that
    line.closed = False
    for client in clients:
        client.wait_for("gap")
        assert client.orders == []
    publisher.order("IDLONG", 100)
    for client in clients:
        client.wait_for_order(100)
        assert client.orders == [100]
    line.end()


def test_a_token_refused_and_then_a_good_one(gateway: GatewayProcess, drive: Drive, signer: Signer) -> None:
    tokens = [Signer().token("IDTOKEN", **OLD), signer.token("IDTOKEN")]
    clients = [drive(language, gateway.url, tokens=tokens, streams=streams) for language, streams in KINDS]
    for client in clients:
        client.wait_for("connected")
        assert len(client.all("disconnected")) == 1


def test_a_fresh_token_is_shown_before_the_old_one_runs_out(
    start: Callable[..., GatewayProcess], publisher: Publisher, drive: Drive, signer: Signer
) -> None:
    gateway = start(JWT_ENFORCE_EXPIRY="true")
    end = int(time.time()) + TOKEN_SECONDS
    bad, good = Signer().token("IDEXPIRES", **OLD), signer.token("IDEXPIRES", exp=end + 60)
    first = signer.token("IDEXPIRES", exp=end)
    clients = [drive(language, gateway.url, tokens=[first, bad, good], streams=streams) for language, streams in KINDS]
    clients.append(drive("python", gateway.url, tokens=[first], on="event", until=-1))
    for client in clients:
        client.wait_for("connected")
    assert clients.pop().wait_for("refused"), "it has no other token, and reports that after the end"
    assert time.time() >= end
    publisher.order("IDEXPIRES", 1)
    for client in clients:
        client.wait_for_order(1)
        assert client.all("disconnected") == []
        assert client.all("error") == ["Authentication failed."], "one of them was invalid"


@pytest.mark.parametrize(("given", "times"), [(1, 1), (9, 3)])
def test_it_ends_where_no_token_is_taken(gateway: GatewayProcess, drive: Drive, given: int, times: int) -> None:
    other = Signer()
    tokens = [other.token("IDTOKEN", **OLD) for _ in range(given)]
    clients = [drive(language, gateway.url, tokens=tokens, streams=streams) for language, streams in KINDS]
    for client in clients:
        assert "refuses this token" in client.wait_for("refused")
        client.wait_for("ended")
        assert len(client.all("disconnected")) == times


def test_a_gateway_without_its_keys_ends_no_client(folder: Path, drive: Drive) -> None:
    key = Issued("a")
    with issuing(members(key)) as issuer:
        issuer.status = 503
        environ = {"AMQP_URL": "memory://", "JWT_JWKS_URL": issuer.url, "JWT_JWKS_REFRESH": "1"}
        gateway = GatewayProcess(folder, environ, wait=False)
        try:
            wait_until(lambda: "HTTP 503" in gateway.operators("/readyz")[1], "it has no keys")
            given = {"tokens": [key.token("IDEARLY")], "until": -1}
            clients = [drive(language, gateway.url, streams=streams, **given) for language, streams in KINDS]
            for client in clients:
                code, _, pause = client.wait_for("disconnected", times=2)
                assert code == (1013 if client.language in ("node", "page") else 503)
                assert pause >= 1
            issuer.status = 200
            for client in clients:
                client.wait_for("connected")
                assert client.all("refused") == []
        finally:
            gateway.stop()


def test_public_streams_come_without_a_token(gateway: GatewayProcess, publisher: Publisher, drive: Drive) -> None:
    clients = [drive(language, gateway.url, streams=["btcusd.trades"], on="event") for language in COMMANDS]
    for client in clients:
        assert client.wait_for("connected") == ["btcusd.trades"]
    publisher.event("public.btcusd.trades", {"id": 1})
    for client in clients:
        client.wait_for_order(1)
        assert client.all("gap") == []


@pytest.mark.parametrize("language", COMMANDS)
def test_an_event_that_a_callback_failed_on_comes_again(
    gateway: GatewayProcess, publisher: Publisher, drive: Drive, signer: Signer, language: str
) -> None:
    client = drive(language, gateway.url, tokens=[signer.token("IDSTUMBLE")], stumble=3, until=5)
    client.wait_for("connected")
    for number in range(1, 7):
        publisher.order("IDSTUMBLE", number)
    assert client.wait_for("ended") == "closed"
    assert client.told.index(("raised", "stumbled")) == 3, "connected, 1, 2"
    assert client.orders == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("code", "languages"), [(1002, COMMANDS), *((code, ["python", "node"]) for code in (1003, 1007, 1009))]
)
def test_no_return_where_it_would_happen_again(drive: Drive, code: int, languages: Collection[str]) -> None:
    with closing_with((code, "because")) as (url, times):
        for client in [drive(language, url, tokens=["any"]) for language in languages]:
            assert f"closed: {code} because" in client.wait_for("refused")
            assert client.all("disconnected") == [[code, "because", None]]
            client.wait_for("ended")
        assert len(times) == 2 * len(languages), "each came once"


@pytest.mark.parametrize("code", [4401, 4403])
def test_after_an_end_of_session_it_takes_a_new_token(drive: Drive, code: int) -> None:
    with closing_with((code, "")) as (url, times):
        for client in [drive(language, url, tokens=["first", "second"]) for language in COMMANDS]:
            assert "gave the same one again" in client.wait_for("refused")
        assert len(times) == 2 * 2 * len(COMMANDS)


@pytest.mark.parametrize("language", COMMANDS)
def test_client_returns_at_the_given_time_with_jitter(drive: Drive, language: str) -> None:
    with closing_with((1012, "restart; retry after 1"), (503, "7")) as (url, times):
        client = drive(language, url, tokens=["any"])
        client.wait_for("disconnected", times=2)
        (_, _, told), (status, _, full) = client.all("disconnected")
        assert 1 <= told <= 1.5
        assert times[2] - times[1] >= 1
        if language != "page":  # which does not report it
            assert status == 503
            assert 7 <= full <= 7 + 8
    with closing_with((1013, "no key; retry after 1")) as (url, _):
        _, _, pause = drive(language, url, tokens=["any"]).wait_for("disconnected")
        assert 1 <= pause <= 1.5, "a time that was given counts"
    with closing_with((1013, "full")) as (url, _):
        _, _, pause = drive(language, url, tokens=["any"]).wait_for("disconnected")
        assert 5 <= pause <= 5 + 8, "the gateway is full: not at once"


def test_a_loop_may_be_left_and_another_goes_on(gateway: GatewayProcess, publisher: Publisher, signer: Signer) -> None:
    with PeatioClient(gateway.url, token=lambda: signer.token("IDLOOP")) as client:
        client.on("connected", lambda _: [publisher.order("IDLOOP", number) for number in range(1, 5)])
        first, second = next(client), next(client)
        assert (first.data["id"], second.data["id"], client.cursor) == (1, 2, first.cursor)
        for event in client:
            if event.data["id"] == 4:
                break
        assert event.data["id"] == 4
    assert client.state == "closed"
    assert list(client) == []


def events_of(client: PeatioClient, count: int) -> list[tuple[str, Any]]:
    return [(event.stream, event.data) for event in itertools.islice(client, count)]


def test_streams_come_and_go_while_it_runs(gateway: GatewayProcess, publisher: Publisher, signer: Signer) -> None:
    for market in ("ltcusd", "bchusd"):
        publisher.event(f"public.{market}.ob-snap", {"asks": [["1", "1"]], "sequence": 1})
    with PeatioClient(gateway.url, token=lambda: signer.token("IDCOMING")) as client:
        client.on("connected", lambda _: publisher.order("IDCOMING", 1))
        assert events_of(client, 1)[0][0] == "order"
        ltc = client.book("ltcusd")
        assert events_of(client, 1)[0][0] == "ltcusd.ob-snap"
        assert ltc.current
        client.unsubscribe("ltcusd.ob-inc")
        client.book("bchusd")
        assert events_of(client, 1)[0][0] == "bchusd.ob-snap", "and the gateway has heard what was said before it"
        assert not ltc.current
        for market in ("ltcusd", "bchusd"):
            publisher.event(f"public.{market}.ob-inc", {"asks": ["1", "2"], "sequence": 2})
        assert events_of(client, 1) == [("bchusd.ob-inc", {"asks": ["1", "2"], "sequence": 2})]


@pytest.mark.parametrize("waits_for", ["connected", "disconnected"])
def test_it_may_be_closed_from_another_thread(gateway: GatewayProcess, signer: Signer, waits_for: Any) -> None:
    """While it listens, and while it waits to come back."""
    url = gateway.url if waits_for == "connected" else f"ws://127.0.0.1:{free_port()}/"
    client, waiting = PeatioClient(url, token=lambda: signer.token("IDTHREAD")), threading.Event()
    client.on(waits_for, lambda _: waiting.set())
    running = threading.Thread(target=client.run)
    running.start()
    assert waiting.wait(WAIT)
    client.close()
    running.join(WAIT)
    assert not running.is_alive()
    assert client.state == "closed"


def test_a_loop_of_asyncio_may_be_left_and_cancelled(
    gateway: GatewayProcess, publisher: Publisher, signer: Signer
) -> None:
    async def use() -> list[int]:
        async with AsyncPeatioClient(gateway.url, token=lambda: signer.token("IDASYNC"), streams=["order"]) as client:
            connected = asyncio.Event()
            client.on("connected", lambda _: connected.set())
            waiting = asyncio.ensure_future(anext(client))
            await asyncio.wait_for(connected.wait(), WAIT)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(waiting, 0.1)
            for number in range(1, 5):
                await asyncio.to_thread(publisher.order, "IDASYNC", number)
            taken = [(await asyncio.wait_for(anext(client), WAIT)).data["id"]]
            async for event in client:
                taken.append(event.data["id"])
                if event.data["id"] == 4:
                    break
            assert client.state == "connected", "all over one connection"
        assert client.state == "closed"
        assert [event async for event in client] == []
        return taken

    assert asyncio.run(use()) == [1, 2, 3, 4]


SNAP = {"asks": [["15.0", "21.7"], ["14.50", "3"]], "bids": [["10.95", "2"]], "sequence": 7}
BOOK = [7, [["14.50", "3"], ["15.0", "21.7"]], [["10.95", "2"]]]


def test_books_are_kept_and_a_hole_is_mended(
    gateway: GatewayProcess, line: Line, publisher: Publisher, drive: Drive, signer: Signer
) -> None:
    def say(kind: str, sequence: int, **sides: Any) -> None:
        publisher.event(f"public.xrpusd.ob-{kind}", {**sides, "sequence": sequence})

    publisher.event("public.xrpusd.ob-snap", SNAP)
    private = {"tokens": [signer.token("IDBOOKS")]}
    clients = [
        drive("python", line.url, books=["xrpusd"], **private),
        drive("asyncio", line.url + "public", books=["xrpusd.ob"]),
        drive("node", line.url + "public", books=["xrpusd"], streams=["order"], **private),
        drive("page", line.url + "public", books=["xrpusd"]),
    ]
    say("inc", 8, asks=["15", "0.50"])
    for client in clients:
        client.wait(lambda client=client: 8 in [book[0] for book in client.all("book")], "the first change")
        assert client.all("book")[-1] == [8, [["14.50", "3"], ["15", "0.50"]], BOOK[2]]
    say("inc", 10, asks=["15", "0"], bids=[["10.95", "0.0"], ["10.950000000000000000001", "7"]])
    for client in clients:
        assert client.wait_for("stale")[0] == 8, "9 is missing"
    say("snap", 12, **{name: SNAP[name] for name in ("asks", "bids")})
    say("inc", 13, bids=[["10.9500", "4.0"]])
    for client in clients:
        client.wait(lambda client=client: client.all("book")[-1][0] == 13, "the change after the new snapshot")
        assert client.all("book")[-1] == [13, BOOK[1], [["10.9500", "4.0"]]]
    told = [len(client.all("book")) for client in clients]
    line.cut()
    for client, before in zip(clients, told, strict=True):
        assert client.wait_for("stale", 2)[0] == 13
        client.wait_for("book", before + 1)
        assert client.all("book")[-1] == [13, BOOK[1], [["10.9500", "4.0"]]], "a new snapshot"
        assert client.all("error") == []


@pytest.mark.parametrize(
    ("market", "view", "last_asks"),
    [
        ("bnbusd", {"every": 250}, [["14.50", "3"], ["15", "0.50"]]),
        ("dotusd", {"depth": 1, "every": 100}, [["14.50", "3"]]),
    ],
)
def test_books_at_a_pace_and_depth_survive_a_cut_and_can_be_changed(
    gateway: GatewayProcess, line: Line, publisher: Publisher, drive: Drive, market: str, view: Any, last_asks: Any
) -> None:
    def say(kind: str, sequence: int, **sides: Any) -> None:
        publisher.event(f"public.{market}.ob-{kind}", {**sides, "sequence": sequence})

    def have(sequence: int, asks: Any) -> None:
        for client in clients:
            client.wait(lambda client=client: [sequence, asks, BOOK[2]] in client.all("book"), f"{sequence} {asks}")

    publisher.event(f"public.{market}.ob-snap", SNAP)
    again = {"at": 9, "view": {"every": 0}}
    url = line.url + "public"
    clients = [drive(language, url, books=[market], **view, again=again) for language in COMMANDS]
    have(7, BOOK[1][: len(last_asks)])
    say("inc", 8, asks=["15", "0.50"])
    if view.get("depth") != 1:  # else the best levels are the same as before, and there is no frame
        have(8, last_asks)
    line.cut()
    for client in clients:
        client.wait_for("stale")
        client.wait_for("connected", 2)
    say("inc", 9, asks=["14.50", "4"])
    have(9, [["14.50", "4"], *last_asks[1:]])
    have(9, [["14.50", "4"], ["15", "0.50"]])
    for client in clients:
        client.wait(
            lambda client=client: [book[0] for book in client.all("book")].count(9) == 2, "the other view's book"
        )
    say("inc", 10, asks=["15", "0"])
    say("inc", 11, asks=["14.50", "5"])
    have(10, [["14.50", "4"]])
    have(11, [["14.50", "5"]])
    for client in clients:
        assert (client.all("gap"), client.all("error")) == ([], [])


def test_what_a_slow_consumer_cannot_take_waits_at_the_gateway(
    start: Callable[..., GatewayProcess], publisher: Publisher, drive: Drive, signer: Signer, tmp_path: Path
) -> None:
    kept = {"WEBSOCKET_RESUME_BYTES": str(2**30)}
    narrow = start(WEBSOCKET_OUTBOX_BYTES="65536", **kept)
    # A page cannot stop reading. Its own limit is what is looked at, however slowly it takes things from the gateway.
    roomy = start(WEBSOCKET_OUTBOX_BYTES=str(2**30), **kept)
    hold = tmp_path / "go"
    given = {"tokens": [signer.token("IDSLOW")], "streams": ["blob"], "on": "event", "hold": str(hold)}
    clients = {
        language: drive(language, (roomy if language == "page" else narrow).url, **given) for language in COMMANDS
    }
    for client in clients.values():
        client.wait_for("connected")

    def hung_up() -> bool:
        """Whether the gateway has hung up on those who stopped reading."""
        return narrow.metric('peatio_ws_closes_total{by="gateway",code="4413"}') == len(clients) - 1

    published = 0
    while not hung_up():  # how much a kernel takes for them differs from machine to machine
        assert published < 10_000
        for _ in range(500):
            published += 1
            text = secrets.token_hex(12_000)  # compression does not make it small
            publisher.event("private.IDSLOW.blob", {"id": published, "text": text})
        with contextlib.suppress(TimeoutError):
            wait_until(hung_up, "the gateway hangs up on those who stopped reading", 15)
    wait_until(lambda: roomy.total("peatio_ws_closes_total") == 1, "the page hangs up")
    hold.touch()
    for language, client in clients.items():
        client.wait_for_order(published)
        assert client.orders == list(range(1, published + 1))
        assert client.all("gap") == []
        told_itself = client.all("disconnected")[0][1] == "too many frames wait for the program, which is too slow"
        assert told_itself == (language == "page"), "which cannot stop reading, and hangs up itself"


@pytest.mark.parametrize("language", ["python", "asyncio", "node"])
def test_client_names_the_origin_that_the_gateway_refuses(
    gateway: GatewayProcess, drive: Drive, signer: Signer, language: str
) -> None:
    origin = "https://other.example"
    client = drive(language, gateway.url, tokens=[signer.token("IDORIGIN")], headers={"Origin": origin}, until=-1)
    code, reason, _ = client.wait_for("disconnected")
    assert (code, reason) == (403, f"HTTP 403: This origin is not among API_CORS_ORIGINS. (Origin: {origin})")
