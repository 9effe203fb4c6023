"""Traces of connections through the real Redis: two gateways with two workers each."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis as redis_client
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection

from peatio_ws.cluster.redis_keys import COMMANDS_CHANNEL
from peatio_ws.cluster.tracing.messages import LEASE_SECONDS
from tests.support import fork_server
from tests.support.gateway import WAIT, GatewayProcess, Publisher, Signer, authenticate, receive, resume
from tests.support.openapi import TOKEN, ask, validator
from tests.support.raw_client import RawClient
from tests.support.servers import RabbitMQ, Redis, wait_until
from tests.support.tracing import Tracer

OUTBOX = 100_000


@pytest.fixture(scope="module")
def own_redis(folder: Path) -> Iterator[Redis]:
    server = Redis(folder / "redis-trace")
    yield server
    server.kill()


@pytest.fixture(scope="module")
def gateways(folder: Path, broker: RabbitMQ, own_redis: Redis, signer: Signer) -> Iterator[list[GatewayProcess]]:
    environ = {
        "AMQP_URL": broker.url,
        "REDIS_URL": own_redis.url,
        **signer.environ,
        "WEBSOCKET_DRAIN_SECONDS": "0.5",
        "WEBSOCKET_OUTBOX_BYTES": str(OUTBOX),
        "WEB_CONCURRENCY": "2",
        "ADMIN_TOKEN": TOKEN,
    }
    started = [GatewayProcess(folder, environ, wait=False) for _ in range(2)]
    for gateway in started:
        gateway.wait_ready()
    yield started
    for gateway in started:
        gateway.stop()
        assert not gateway.tracebacks()


def traces(gateways: list[GatewayProcess], event: str, **fields: Any) -> int:
    """Return how many workers have logged that a trace began or ended."""
    name = f"operator trace {event}"
    lines = [line for gateway in gateways for line in gateway.events() if line["event"] == name]
    return sum(fields.items() <= line.items() for line in lines)


def bearer(signer: Signer, uid: str) -> dict[str, Any]:
    return {"additional_headers": {"Authorization": f"Bearer {signer.token(uid)}"}}


def the(found: list[dict[str, Any]]) -> dict[str, Any]:
    (only,) = found
    return only


def test_member_is_followed_through_all_workers_and_both_protocols(
    gateways: list[GatewayProcess], own_redis: Redis, signer: Signer, publisher: Publisher
) -> None:
    with gateways[0].member(signer.token("IDANN")) as classic, gateways[0].member(signer.token("IDBOB")) as bob:
        with Tracer(own_redis.url, "IDANN") as tracer:
            begin = tracer.lines[0]
            assert begin["received_by"] == {"workers": 4, "gateways": 2, "silent": 0}
            assert (begin["target"], begin["seconds"], begin["bodies"]) == ({"uid": "IDANN"}, 600.0, False)
            tracer.until(lambda: tracer.of("connection"), "the open connection is shown")
            first = the(tracer.of("connection"))
            assert (first["uid"], first["protocol"], first["address"]) == ("IDANN", "classic", "127.0.0.1")
            assert first["gateway"] == f"{os.uname().nodename}:{gateways[0].port}"
            assert first["worker"] in gateways[0].workers()
            with gateways[1].connect("private?stream=order", **bearer(signer, "IDANN")) as ranger:
                receive(ranger)
                tracer.until(lambda: tracer.of("sent", what="success"), "the reply is shown")
                second = the(tracer.of("opened"))
                assert (second["uid"], second["protocol"]) == ("IDANN", "ranger")
                assert second["gateway"].endswith(f":{gateways[1].port}")
                assert the(tracer.of("subscribed"))["streams"] == ["order"]
                ranger.send('{"event":"subscribe","streams":["btcusd.trades","global.tickers"]}')
                receive(ranger)
                ranger.send('{"event":"unsubscribe","streams":["global.tickers"]}')
                receive(ranger)
                publisher.event("public.btcusd.trades", {"trades": []})
                publisher.order("IDANN", 7)
                publisher.order("IDBOB", 8)
                frames = [str(client.recv(timeout=WAIT)) for client in (classic, ranger, ranger)]
                assert receive(bob)["orderbook"]["id"] == 8
                tracer.until(lambda: len(tracer.of("delivered")) == 3, "every delivery is shown")
                ids = [first["connection"], second["connection"]]
                assert [(one["stream"], one["bytes"]) for one in tracer.of("delivered", ids[0])] == [
                    ("orderbook", len(frames[0]))
                ]
                assert {(one["stream"], one["bytes"]) for one in tracer.of("delivered", ids[1])} == {
                    (next(iter(json.loads(text))), len(text)) for text in frames[1:]
                }
                assert [(one["streams"], one["total"]) for one in tracer.of("subscribed", ids[1])][1:] == [
                    (["btcusd.trades", "global.tickers"], 3)
                ]
                assert the(tracer.of("unsubscribed"))["streams"] == ["global.tickers"]
                assert [one["what"] for one in tracer.of("received")] == ["subscribe", "unsubscribe"]
                ranger.close(4000, "enough of it")
            tracer.until(lambda: tracer.of("closed"), "the end is shown")
            closed = the(tracer.of("closed", ids[1]))
            assert (closed["code"], closed["reason"], closed["by"], closed["messages"]) == (
                4000, "enough of it", "client", 2
            )  # fmt: skip
            assert not tracer.of("delivered", "IDBOB")
            status, said = tracer.interrupt()
        assert status == 0
        assert said.startswith("stopped; ")
        assert tracer.lines[-1]["kind"] == "end"
        assert tracer.lines[-1]["omitted"] == 0
        assert "IDBOB" not in "".join(tracer.raw)
    wait_until(lambda: traces(gateways, "ended", uid="IDANN") == 4, "every worker has ended it")


def test_refused_tokens_and_requests_are_shown_by_address(
    gateways: list[GatewayProcess], own_redis: Redis, signer: Signer
) -> None:
    expired = signer.token("IDANN", exp=1)
    with Tracer(own_redis.url, "--address", "::ffff:127.0.0.1", "--bodies") as tracer:
        with gateways[0].connect() as client:
            receive(client)
            client.send(json.dumps({"jwt": f"Bearer {expired}"}))
            assert "error" in receive(client)
            authenticate(client, token := signer.token("IDANN"))
        headers = {"Authorization": f"Bearer {expired}"}
        with pytest.raises(InvalidStatus), gateways[1].connect("private", additional_headers=headers):
            pass
        tracer.until(lambda: tracer.of("refused", what="request"), "the refused request is shown")
        tracer.until(lambda: tracer.of("closed"), "the connection's end is shown")
        opened = the(tracer.of("opened"))
        # Lines of two workers come in any order.
        refused = sorted(tracer.of("refused", what="token"), key=lambda one: one["connection"] != opened["connection"])
        by_message, by_request = refused
        assert by_message["connection"] == opened["connection"]
        assert (opened["uid"], opened["address"]) == (None, "127.0.0.1")
        assert "expired" in by_message["reason"]
        assert by_request["reason"] == by_message["reason"]
        assert the(tracer.of("refused", what="request"))["status"] == 401
        assert the(tracer.of("authenticated"))["uid"] == "IDANN"
        assert [one["what"] for one in tracer.of("received")] == ["jwt", "jwt"]
        assert [one["what"] for one in tracer.of("sent")] == ["challenge", "error", "success"]
        shown = "".join(tracer.raw)
        for secret in (expired, token):
            assert all(part not in shown for part in secret.split(".")), "a token is shown"
        assert all("body" not in one for one in tracer.of("received"))


def test_resumed_connection_shows_cursors_and_what_is_replayed(
    gateways: list[GatewayProcess], own_redis: Redis, signer: Signer, publisher: Publisher
) -> None:
    token = signer.token("IDCUT")
    with gateways[0].connect() as client:
        cursor = resume(client, token)["cursor"]
    publisher.order("IDCUT", 1)
    with Tracer(own_redis.url, "IDCUT", "--bodies") as tracer:
        with gateways[1].connect() as client:
            assert resume(client, token, cursor)["complete"] is True
            missed = client.recv(timeout=WAIT)
            publisher.order("IDCUT", 2)
            live = client.recv(timeout=WAIT)
            tracer.until(lambda: len(tracer.of("delivered")) == 2, "both events are shown")
        own = [line["kind"] for line in tracer.lines if "connection" in line]
        assert own[:2] == ["connection", "authenticated"]
        resumed = the(tracer.of("resumed"))
        assert (resumed["complete"], resumed["cursor"]) == (True, cursor)
        first, second = tracer.of("delivered")
        assert (first["body"], first.get("replayed")) == (missed, True)
        assert (second["body"], second.get("replayed")) == (live, None)
        assert [one["cursor"] for one in (first, second)] == [json.loads(text)["cursor"] for text in (missed, live)]


def test_two_traces_of_one_connection_are_independent(
    gateways: list[GatewayProcess], own_redis: Redis, signer: Signer, publisher: Publisher
) -> None:
    with gateways[0].member(signer.token("IDTWO")) as client, Tracer(own_redis.url, "IDTWO", "--bodies") as whole:
        whole.until(lambda: whole.of("connection"), "the connection is shown")
        name = the(whole.of("connection"))["connection"]
        with Tracer(own_redis.url, "--connection", name) as short:
            short.until(lambda: short.of("connection"), "the connection is shown")
            publisher.order("IDTWO", 1)
            frame = client.recv(timeout=WAIT)
            for tracer, text in ((whole, frame), (short, None)):
                tracer.until(lambda t=tracer: t.of("delivered"), "the delivery is shown")  # type: ignore[misc]
                assert the(tracer.of("delivered")).get("body") == text
            assert short.interrupt()[0] == 0
        wait_until(lambda: traces(gateways, "ended", connection=name) == 4, "the second trace has ended")
        publisher.order("IDTWO", 2)
        receive(client)
        whole.until(lambda: len(whole.of("delivered")) == 2, "the first trace goes on")
        assert len(short.of("delivered")) == 1


def test_slow_client_shows_what_waits_and_why_it_is_closed(
    gateways: list[GatewayProcess], own_redis: Redis, signer: Signer, publisher: Publisher
) -> None:
    with Tracer(own_redis.url, "IDSLOW") as tracer, RawClient(gateways[0].port, receive_buffer=4096) as slow:
        slow.request({"Authorization": f"Bearer {signer.token('IDSLOW')}"}, "GET /private?stream=big HTTP/1.1")
        tracer.until(lambda: tracer.of("sent", what="success"), "the client is subscribed")
        with gateways[1].member(signer.token("IDFAST")) as fast:
            for number in range(100):
                publisher.event("private.IDSLOW.big", {"text": "x" * 50_000})
                publisher.order("IDFAST", number)
                assert receive(fast)["orderbook"]["id"] == number
        tracer.until(lambda: tracer.of("closed"), "the end is shown")
        closed = the(tracer.of("closed"))
        assert (closed["code"], closed["by"]) == (4413, "gateway")
        assert closed["reason"].startswith("too slow: more than")
        waiting = [one["waiting"] for one in tracer.of("delivered")]
        assert waiting == sorted(waiting)
        assert max(waiting) > OUTBOX // 2


def test_killed_command_ends_on_all_workers(
    gateways: list[GatewayProcess], own_redis: Redis, signer: Signer, publisher: Publisher
) -> None:
    with gateways[0].member(signer.token("IDKILL")) as client:
        with Tracer(own_redis.url, "IDKILL") as tracer:
            tracer.until(lambda: tracer.of("connection"), "the connection is shown")
            tracer.kill()
        wait_until(lambda: traces(gateways, "ended", uid="IDKILL") == 4, "every worker has ended it", 3 * LEASE_SECONDS)
        publisher.order("IDKILL", 1)
        assert receive(client)["orderbook"]["id"] == 1


def test_trace_survives_a_restart_of_redis(
    gateways: list[GatewayProcess], own_redis: Redis, signer: Signer, publisher: Publisher
) -> None:
    with gateways[0].member(signer.token("IDDOWN")) as client, Tracer(own_redis.url, "IDDOWN") as tracer:
        tracer.until(lambda: tracer.of("connection"), "the connection is shown")
        own_redis.kill()
        for number in range(20):
            publisher.order("IDDOWN", number)
            assert receive(client)["orderbook"]["id"] == number
        own_redis.start()
        tracer.until(lambda: len(tracer.of("delivered")) == 20, "the deliveries of the meantime follow")
        assert tracer.interrupt()[0] == 0
        assert tracer.lines[-1]["omitted"] == 0


def test_trace_without_redis_ends_and_says_so(gateways: list[GatewayProcess], own_redis: Redis, signer: Signer) -> None:
    with gateways[0].member(signer.token("IDGONE")) as client, Tracer(own_redis.url, "IDGONE") as tracer:
        own_redis.kill()
        try:
            status, said = tracer.ended(5 * LEASE_SECONDS)
            assert status == 1
            assert said.startswith("Redis is unreachable: ")
            assert tracer.lines[-1]["reason"] == "redis"
            wait_until(
                lambda: traces(gateways, "ended", uid="IDGONE") == 4, "every worker has ended it", 3 * LEASE_SECONDS
            )
            client.ping().wait(WAIT)
        finally:
            own_redis.start()
    with redis_client.Redis.from_url(own_redis.url) as connection:
        listening = [(COMMANDS_CHANNEL.encode(), 4)]
        wait_until(lambda: connection.pubsub_numsub(COMMANDS_CHANNEL) == listening, "all workers listen to Redis again")


def test_worker_that_starts_later_joins(
    gateways: list[GatewayProcess], own_redis: Redis, signer: Signer, publisher: Publisher
) -> None:
    with Tracer(own_redis.url, "IDNEW") as tracer:
        before = set(gateways[1].workers())
        os.kill(gateways[1].pid, signal.SIGHUP)
        tracer.until(lambda: len(tracer.of("worker", status="joined")) == 2, "the new workers have joined")
        joined = {one["worker"] for one in tracer.of("worker", status="joined")}
        wait_until(lambda: not before & set(gateways[1].workers()), "the old workers are gone")
        gateways[1].wait_ready()
        assert joined == set(gateways[1].workers())
        with gateways[1].member(signer.token("IDNEW")) as client:
            publisher.order("IDNEW", 1)
            receive(client)
            tracer.until(lambda: tracer.of("delivered"), "the delivery is shown")
        assert the(tracer.of("delivered"))["worker"] in joined


def test_trace_ends_after_its_time_and_is_complete(
    gateways: list[GatewayProcess], own_redis: Redis, signer: Signer, publisher: Publisher
) -> None:
    with gateways[0].member(signer.token("IDTIME")) as client, Tracer(own_redis.url, "IDTIME", "--seconds", "1") as t:
        t.until(lambda: t.of("connection"), "the connection is shown")
        delivered = 0
        while not t.of("end"):
            publisher.order("IDTIME", delivered)
            receive(client)
            delivered += 1
        status, said = t.ended()
        assert (status, said.partition(";")[0]) == (0, "1 s have passed")
        assert t.lines[-1]["reason"] == "time"
        # Where events come faster than a trace takes them, it says how many lines it left out.
        assert t.lines[-1]["lines"] == len(t.lines) - 2 - len(t.of("omitted"))
        assert 0 < len(t.of("delivered")) <= delivered
    wait_until(lambda: traces(gateways, "ended", uid="IDTIME") == 4, "every worker has ended it")


# ---- over HTTP


@contextlib.contextmanager
def stream(
    gateway: GatewayProcess, **query: str
) -> Iterator[tuple[http.client.HTTPResponse, Iterator[dict[str, Any]]]]:
    """Return the answer to a request for a trace, and its lines, each compared with docs/openapi.yaml."""
    connection = http.client.HTTPConnection("127.0.0.1", gateway.metrics_port, timeout=WAIT)
    connection.request(
        "GET", f"/api/trace?{urllib.parse.urlencode(query)}", headers={"Authorization": f"Bearer {TOKEN}"}
    )
    answer = connection.getresponse()
    schema = validator("components", "schemas", "TraceLine")

    def lines() -> Iterator[dict[str, Any]]:
        for text in answer:
            line = json.loads(text)
            schema.validate(line)
            yield line

    try:
        yield answer, lines()
    finally:
        answer.close()
        connection.close()


def test_trace_over_http(gateways: list[GatewayProcess], signer: Signer, publisher: Publisher) -> None:
    """From a worker of the other gateway."""
    with gateways[0].member(signer.token("IDWEB")) as client:
        with stream(gateways[1], uid="IDWEB", seconds="600", bodies="true") as (answer, lines):
            assert answer.status == 200
            assert answer.headers["Content-Type"] == "application/x-ndjson"
            assert answer.headers["Cache-Control"] == "no-store"
            assert next(lines)["received_by"] == {"workers": 4, "gateways": 2, "silent": 0}
            assert next(lines)["kind"] == "connection"
            publisher.order("IDWEB", 1)
            frame = client.recv(timeout=WAIT)
            delivered = next(line for line in lines if line["kind"] == "delivered")
            assert delivered["body"] == frame
            client.close(1000)
            closed = next(line for line in lines if line["kind"] == "closed")
            assert closed["code"] == 1000
        wait_until(lambda: traces(gateways, "ended", uid="IDWEB") == 4, "every worker has ended it", 3 * LEASE_SECONDS)


def test_trace_over_http_ends_after_its_time(gateways: list[GatewayProcess]) -> None:
    with stream(gateways[0], address="192.0.2.1", seconds="1") as (_, lines):
        kinds = [line["kind"] for line in lines]
    assert kinds == ["begin", "end"]


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ({}, "use one of uid, address and connection"),
        ({"uid": "A", "address": "192.0.2.1"}, "use one of"),
        ({"uid": ""}, "1 to 256 characters"),
        ({"uid": "A", "seconds": "0"}, "seconds is a number from 1 to 3600"),
        ({"uid": "A", "seconds": "nan"}, "seconds is a number"),
        ({"uid": "A", "bodies": "maybe"}, "bodies is true or false"),
        ({"uid": "A", "token": "x"}, "unknown field: token"),
    ],
)
def test_invalid_request_for_a_trace_is_answered_with_the_fault(
    gateways: list[GatewayProcess], query: dict[str, str], text: str
) -> None:
    with stream(gateways[0], **query) as (answer, _):
        assert answer.status == 400
        assert text in json.loads(answer.read())["error"]


def test_the_ninth_trace_is_refused(gateways: list[GatewayProcess], own_redis: Redis) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(8):
            stack.enter_context(Tracer(own_redis.url, "IDMANY"))
        environ = {**os.environ, "REDIS_URL": own_redis.url}
        done = fork_server.shared("command").run(["peatio_ws", "trace", "IDMANY"], environ, WAIT)
        assert (done.returncode, done.stderr) == (
            1, "Error: each worker has 8 traces already; end one of them first\n"
        )  # fmt: skip
        with stream(gateways[0], uid="IDMANY") as (answer, _):
            assert answer.status == 503
            assert "each worker has 8 traces" in json.loads(answer.read())["error"]


def test_closed_connection_of_an_operator_is_shown(
    gateways: list[GatewayProcess], own_redis: Redis, signer: Signer
) -> None:
    def close(client: ClientConnection) -> tuple[int, str]:
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(timeout=WAIT)
        assert closed.value.rcvd is not None
        return closed.value.rcvd.code, closed.value.rcvd.reason

    with gateways[0].member(signer.token("IDOUT")) as client, Tracer(own_redis.url, "IDOUT") as tracer:
        assert ask(gateways[1], "POST", "/api/members/IDOUT/disconnect")[0] == 200
        code, reason = close(client)
        tracer.until(lambda: tracer.of("closed"), "the end is shown")
        line = the(tracer.of("closed"))
        assert (line["code"], line["reason"], line["by"], line["uid"]) == (code, reason, "gateway", "IDOUT")
