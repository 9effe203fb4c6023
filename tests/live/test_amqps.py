"""RabbitMQ and Redis over TLS, with client certificates: the gateway works as it does without TLS."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from peatio_ws.publisher import Publisher as PeatioPublisher
from tests.live.test_check import check
from tests.support import fork_server
from tests.support.gateway import ROOT, GatewayProcess, Publisher, Signer, receive, resume
from tests.support.servers import RabbitMQ, Redis, wait_until
from tests.support.tls_server import TlsServer

LONG = float(os.environ.get("PEATIO_WS_TEST_SECONDS", "0"))
"""Duration in seconds of the long form (`make amqps-long`), with an event every 7 s; 0 runs the short form."""
BURST = 2000


@pytest.fixture(scope="module")
def environ(broker: RabbitMQ, redis: Redis, signer: Signer) -> dict[str, str]:
    """Use TLS for both servers. Redis requires a client certificate; RabbitMQ accepts one."""
    found = {**signer.environ, **broker.environ("amqps"), "REDIS_URL": redis.tls_url}
    found["REDIS_CA_FILE"] = str(redis.authority.cert)
    for server, authority in (("AMQP", broker.authority), ("REDIS", redis.authority)):
        cert, key = authority.issue("gateway", "gateway", for_client=True)
        found |= {f"{server}_CERT_FILE": str(cert), f"{server}_KEY_FILE": str(key)}
    return found


@pytest.fixture(scope="module")
def secure(folder: Path, environ: dict[str, str]) -> Iterator[GatewayProcess]:
    """A gateway that connects to both servers over TLS."""
    process = GatewayProcess(folder, environ)
    yield process
    process.stop()


def losses(gateway: GatewayProcess) -> list[str]:
    events = ("broker connection lost; retrying", "cannot read from the broker; retrying")
    return [event["error"] for event in gateway.events() if event["event"] in events]


def test_orders_and_trades_arrive(secure: GatewayProcess, signer: Signer, publisher: Publisher) -> None:
    with secure.member(signer.token("IDANN")) as ann, secure.member(signer.token("IDBOB")) as bob:
        publisher.order("IDANN", 1)
        assert receive(ann)["orderbook"]["id"] == 1
        trade = {"id": 2, "price": "1.0", "volume": "2.0", "ask_id": 3, "bid_id": 4, "market_id": "btcusd"}
        publisher.trade(trade, ask_uid="IDANN", bid_uid="IDBOB")
        assert receive(ann)["trade"]["id"] == receive(bob)["trade"]["id"] == 2


def test_streams_arrive(secure: GatewayProcess, signer: Signer, publisher: Publisher) -> None:
    headers = {"Authorization": f"Bearer {signer.token('IDANN')}"}
    with secure.connect("private?stream=btcusd.trades,order", additional_headers=headers) as client:
        assert receive(client)["success"]["message"] == "subscribed"
        publisher.event("public.btcusd.trades", {"trades": [1]})
        assert receive(client) == {"btcusd.trades": {"trades": [1]}}
        publisher.event("private.IDANN.order", {"id": 5})
        assert receive(client) == {"order": {"id": 5}}


def test_a_client_resumes(secure: GatewayProcess, signer: Signer, publisher: Publisher) -> None:
    token = signer.token("IDCYD")
    with secure.connect() as client:
        cursor = resume(client, token)["cursor"]
    publisher.order("IDCYD", 6)
    with secure.connect() as client:
        assert resume(client, token, cursor)["complete"] is True
        assert receive(client)["orderbook"]["id"] == 6


def test_every_event_of_a_burst_arrives_in_order(secure: GatewayProcess, signer: Signer, broker: RabbitMQ) -> None:
    with secure.member(signer.token("IDANN")) as ann, Publisher(broker.url, confirm=False) as publisher:
        for number in range(BURST):
            publisher.event("private.IDANN.order", {"id": number, "market": "btcusd"})
        assert [receive(ann)["orderbook"]["id"] for _ in range(BURST)] == list(range(BURST))


def test_publisher_works_in_a_process_without_monkey_patching(
    secure: GatewayProcess, signer: Signer, broker: RabbitMQ, environ: dict[str, str]
) -> None:
    files = {"cacertfile": "AMQP_CA_FILE", "certfile": "AMQP_CERT_FILE", "keyfile": "AMQP_KEY_FILE"}
    query = urlencode({name: environ[variable] for name, variable in files.items()})
    with (
        secure.member(signer.token("IDANN")) as ann,
        PeatioPublisher(f"amqp://nobody@127.0.0.1:1/;{broker.tls_url}?{query}") as publisher,
    ):
        assert publisher.to_member("IDANN", "order", {"id": 7, "market": "btcusd"})
        assert receive(ann)["orderbook"]["id"] == 7


def test_a_quiet_connection_is_kept(
    folder: Path, environ: dict[str, str], broker: RabbitMQ, redis: Redis, signer: Signer
) -> None:
    """There is nothing to read for longer than the time limit for connecting. RabbitMQ sends a heartbeat every 5 s
    only."""
    command = ("gunicorn", "wsgi" if LONG else "tests.support.apps.hasty_app")
    quiet, rounds = (7.0, int(LONG // 7)) if LONG else (3.0, 1)
    gateway = GatewayProcess(folder, environ, command)
    try:
        before = len(losses(gateway))
        headers = {"Authorization": f"Bearer {signer.token('IDANN')}"}
        with (
            gateway.connect("private?stream=btcusd.quiet,order", additional_headers=headers) as client,
            Publisher(broker.url) as publisher,
        ):
            assert receive(client)["success"]["message"] == "subscribed"
            for number in range(rounds):
                time.sleep(quiet)  # the test is about this silence
                publisher.event("public.btcusd.quiet", {"n": number})
                assert receive(client) == {"btcusd.quiet": {"n": number}}
                publisher.event("private.IDANN.order", {"id": number})
                assert receive(client) == {"order": {"id": number}}
        assert losses(gateway)[before:] == []
    finally:
        gateway.stop()


# ---- refused connections


def test_broker_certificate_of_another_host_is_refused_and_reported(
    folder: Path, environ: dict[str, str], broker: RabbitMQ, signer: Signer
) -> None:
    """The broker's certificate is for localhost and 127.0.0.1."""
    wrong = {**environ, "AMQP_URL": broker.tls_url.replace("localhost", "127.0.0.2")}
    gateway = GatewayProcess(folder, wrong, wait=False)
    try:
        wait_until(lambda: len(losses(gateway)) == 2, "both connections are refused")
        for said in losses(gateway):
            assert "the server's certificate is for another host" in said
            assert "use a host name or address in AMQP_URL that is in the certificate" in said
        assert gateway.operators("/readyz")[0] == 503
    finally:
        gateway.stop()
    text, remedy = check(**wrong).remedied("broker")
    assert text.startswith(f"127.0.0.2:{broker.tls_port}: the server's certificate is for another host")
    assert remedy.startswith("use a host name or address in AMQP_URL")


def test_redis_certificate_of_another_host_is_refused_and_reported(environ: dict[str, str], redis: Redis) -> None:
    with TlsServer(*redis.authority.issue("other", "redis.example.com")) as server:
        found = check(**{**environ, "REDIS_URL": f"rediss://localhost:{server.port}/0"})
    text, remedy = found.remedied("redis")
    assert "the server's certificate is for another host" in text
    assert remedy.startswith("use a host name or address in REDIS_URL")


def test_check_passes_over_tls(environ: dict[str, str]) -> None:
    found = check(**environ)
    assert found.status == 0, found.output
    assert found.rows["broker"][0][0] == found.rows["redis"][0][0] == "ok"


def test_check_reports_an_authority_that_is_not_trusted(environ: dict[str, str], redis: Redis) -> None:
    wrong = {**environ, "AMQP_CA_FILE": str(redis.authority.cert)}
    text, remedy = check(**wrong).remedied("broker")
    assert "an authority that is not trusted" in text
    assert "set AMQP_CA_FILE" in remedy


def test_publish_works_over_tls_and_reports_refusals(
    secure: GatewayProcess, signer: Signer, environ: dict[str, str], broker: RabbitMQ
) -> None:
    with secure.member(signer.token("IDANN")) as ann:
        status, said = publish("order", "--uid", "IDANN", **environ)
        assert status == 0, said
        assert receive(ann)["orderbook"]["price"] == "9120.5"
    wrong = {**environ, "AMQP_URL": broker.tls_url.replace("localhost", "127.0.0.2")}
    status, said = publish("order", "--uid", "IDANN", **wrong)
    assert status == 1
    assert "the server's certificate is for another host" in said
    status, said = publish("order", "--uid", "IDANN", **{**environ, "AMQP_KEY_FILE": environ["AMQP_CERT_FILE"]})
    assert status == 1
    assert "AMQP_KEY_FILE contains a certificate" in said


def test_who_works_over_tls(secure: GatewayProcess, signer: Signer, environ: dict[str, str]) -> None:
    with secure.member(signer.token("IDDAN")):
        ended = command("who", "--json", **environ)
        assert ended.returncode == 0, ended.stderr
        assert [json.loads(line)["uid"] for line in ended.stdout.splitlines()] == ["IDDAN"]


def publish(*words: str, **environ: str) -> tuple[int, str]:
    ended = command("publish", *words, **environ)
    return ended.returncode, ended.stderr


def command(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environ}
    return fork_server.shared("command").run(["peatio_ws", *words], environment, 60)
