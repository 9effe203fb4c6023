"""A gateway's log at the lowest level: what it contains, and that it contains no tokens or payloads."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from peatio_ws.version import VERSION
from tests.support.gateway import GatewayProcess, Publisher, Signer
from tests.support.raw_client import RawClient, close, frame, text
from tests.support.servers import RabbitMQ, wait_until
from tests.support.serving import authenticated

CLIENT = "203.0.113.9"
GAP = "increments of a book are missing"
PAYLOAD = "payload-that-nobody-may-see"


class Secrets(Signer):
    """Makes tokens and keeps a list of them."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[str] = []

    def token(self, uid: str, **claims: Any) -> str:
        self.shown.append(super().token(uid, **claims))
        return self.shown[-1]

    def parts(self) -> Iterator[str]:
        """Return the parts of tokens that identify them; their headers are all the same."""
        for token in self.shown:
            yield from token.split(".")[1:]


@pytest.fixture(scope="module")
def secrets() -> Secrets:
    return Secrets()


@pytest.fixture(scope="module")
def verbose_gateway(
    tmp_path_factory: pytest.TempPathFactory, broker: RabbitMQ, secrets: Secrets
) -> Iterator[GatewayProcess]:
    gateway = start_verbose(tmp_path_factory.mktemp("talkative"), broker, secrets, LOG_ACCESS="true")
    yield gateway
    gateway.stop()


def start_verbose(folder: Path, broker: RabbitMQ, secrets: Secrets, *options: str, **environ: str) -> GatewayProcess:
    """Start a gateway at the lowest log level."""
    usual = {"LOG_LEVEL": "debug", "TRUSTED_PROXIES": "127.0.0.1", "WEBSOCKET_DRAIN_SECONDS": "0.2"}
    everything = {**secrets.environ, "AMQP_URL": broker.url, **usual, **environ}
    return GatewayProcess(folder, everything, ("gunicorn", *options, "wsgi"))


def ask(gateway: GatewayProcess, line: str = "GET / HTTP/1.1", **headers: str | None) -> int:
    """Return the status of an upgrade request. `_` in the names of headers stands for `-`."""
    with RawClient(gateway.port) as client:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return client.request({"X-Forwarded-For": CLIENT, **named}, line).status


def send_handshakes(gateway: GatewayProcess, secrets: Secrets, bad: str) -> None:
    """Send tokens in every part of a request where a client might put one."""
    good = secrets.token("IDANN")
    assert ask(gateway, "GET /private HTTP/1.1", Authorization=f"Bearer {good}") == 101
    for token in (bad, f"Bearer {bad}", f"Bearer {secrets.token('IDOLD', exp=1)}", f"Bearer {PAYLOAD}"):
        assert ask(gateway, "GET /public HTTP/1.1", Authorization=token) == 401
    hidden = {
        "Cookie": f"session={bad}",
        "Referer": f"https://exchange.example/?jwt={bad}",
        "Sec_WebSocket_Protocol": bad,
        "Proxy_Authorization": f"Bearer {bad}",
        "X_Auth": bad,
    }
    query = f"stream=order&jwt={bad}&resume={PAYLOAD}&{PAYLOAD}"
    assert ask(gateway, f"GET /?{query} HTTP/1.1", **hidden) == 101
    assert ask(gateway, f"GET /private?{query} HTTP/1.1", **hidden) == 401
    assert ask(gateway, f"GET /?{query} HTTP/1.1", Upgrade=None, **hidden) == 426
    assert ask(gateway, f"GET /?{query} HTTP/1.1", Sec_WebSocket_Key=bad) == 400
    assert ask(gateway, f"GET /?{query} HTTP/1.0") == 426
    assert ask(gateway, f"POST /?{query} HTTP/1.1", Content_Length="0") == 405
    assert ask(gateway, f"GET /?{query} HTTP/1.1", Origin=f"https://evil.example/{bad}") == 403
    for nonsense in (
        f"GET /?{query} {bad} HTTP/1.1\r\n\r\n",
        f"{bad}\r\n\r\n",
        f"GET / HTTP/1.1\r\n{bad}\r\n\r\n",
        f"GET / HTTP/9.9\r\nAuthorization: {bad}\r\n\r\n",
        f"GET / HTTP/1.1\r\nContent-Length: {PAYLOAD}\r\nAuthorization: Bearer {bad}\r\n\r\n",
        f"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{bad}\r\n",
    ):
        with RawClient(gateway.port) as client:
            client.send(nonsense.encode())
            client.finish()
            client.answer()
    with RawClient(gateway.port) as client:
        client.send(f"GET /?{query} HTTP/1.1\r\nAuthorization: Bearer {bad}".encode())
        client.reset()


def send_messages(gateway: GatewayProcess, secrets: Secrets, bad: str) -> None:
    """Send tokens and nonsense in messages and frames."""
    with RawClient(gateway.port) as client:
        client.upgrade()
        assert "challenge" in client.json()
        for token in (bad, secrets.token("IDOLD", exp=1), PAYLOAD):
            client.send(text({"jwt": f"Bearer {token}"}))
            assert client.json() == {"error": {"message": "Authentication failed."}}
        for message in (
            {"jwt": bad},
            {"jwt": {PAYLOAD: bad}},
            f"{PAYLOAD} {bad}",
            {"event": PAYLOAD, "jwtt": bad},
            {"event": "subscribe", "streams": [PAYLOAD, f"{PAYLOAD}.trades", f"admin.{PAYLOAD}.sys", bad]},
            {"jwt": f"Bearer {secrets.token('IDANN')}", "resume": PAYLOAD},
            {"jwt": f"Bearer {secrets.token('IDBOB')}"},
        ):
            client.send(text(message))
            client.next()
        client.send(close(4000, PAYLOAD))
        client.next()
    for last in (
        frame(1, bad.encode(), mask=False),
        frame(1, PAYLOAD.encode() + b"\xff"),
        frame(2, bad.encode()),
        frame(1, bad.encode() * 40),
        frame(3, PAYLOAD.encode()),
        *([text({"jwt": f"Bearer {bad}"}) * 5]),
        text(PAYLOAD) * 80,
    ):
        with RawClient(gateway.port) as client:
            client.upgrade()
            client.send(last)
            client.finish()
            while client.next() is not None:
                pass


def publish_events(publisher: Publisher) -> None:
    """Publish valid events, and events with every kind of fault."""
    for body in (
        f'{{"id":1,"price":"{PAYLOAD}"}}',
        f'{{"{PAYLOAD}"',
        f'["{PAYLOAD}"]',
        f'{{"id":"{PAYLOAD}"}}',
        "\xff",
    ):
        publisher.publish("peatio.orderbook", "fanout", body.encode("latin-1"), headers={"uid": "IDANN"})
        publisher.publish("peatio.orderbook", "fanout", body.encode("latin-1"))
        publisher.publish("peatio.trade", "headers", body.encode("latin-1"), headers={"ask_uid": "IDANN"})
        for key in ("private.IDANN.order", "private.IDANN.trade", "public.btcusd.trades", "public.a.b.c", "public."):
            publisher.publish("peatio.events.ranger", "topic", body.encode("latin-1"), key)
    for number in (1, 2, 9):
        body = {"asks": [["1", "2"]], "bids": [], "sequence": number, "note": PAYLOAD}
        publisher.event(f"public.btcusd.ob-{'snap' if number == 1 else 'inc'}", body)


def assert_no_secret_is_logged(verbose_gateway: GatewayProcess, secrets: Secrets, publisher: Publisher) -> None:
    """Cause every kind of log line, and check that none contains a token or payload."""
    with RawClient(verbose_gateway.port) as ann:
        authenticated(ann, secrets.token("IDANN"))
        bad = Signer().token("IDANN")
        secrets.shown.append(bad)
        send_handshakes(verbose_gateway, secrets, bad)
        send_messages(verbose_gateway, secrets, bad)
        publish_events(publisher)
        publisher.order("IDANN", 77)
        while ann.json().get("orderbook", {}).get("id") != 77:
            pass
    wait_until(lambda: verbose_gateway.log().count("connection closed") >= 11, "all connections have ended")
    wait_until(lambda: GAP in verbose_gateway.log(), "the gap in the book is noticed")
    log = verbose_gateway.log()
    found = [secret for secret in (*secrets.parts(), PAYLOAD) if secret in log]
    assert not found, [line for line in log.splitlines() if any(one in line for one in found)]


def test_log_has_all_events_but_no_tokens_or_payloads(
    verbose_gateway: GatewayProcess, secrets: Secrets, publisher: Publisher
) -> None:
    assert_no_secret_is_logged(verbose_gateway, secrets, publisher)
    events = verbose_gateway.events()
    assert {
        "request",
        "request cannot be read",
        "handshake refused",
        "token refused",
        "authenticated",
        "connection opened",
        "connection closed",
        "delivery dropped",
    } <= {event["event"] for event in events}
    assert {event["status"] for event in events if event["event"] == "request"} == {101, 401, 426, 400, 405, 403}
    assert not [line for line in verbose_gateway.log().splitlines() if not line.startswith("{")]
    assert {event["version"] for event in events} == {VERSION}
    assert {event["pid"] for event in events} <= {verbose_gateway.pid, *verbose_gateway.workers()}


def test_gunicorns_access_log_has_no_tokens_or_payloads(
    tmp_path: Path, broker: RabbitMQ, secrets: Secrets, publisher: Publisher
) -> None:
    gateway = start_verbose(tmp_path, broker, secrets, "--access-logfile", "-")
    try:
        assert_no_secret_is_logged(gateway, secrets, publisher)
    finally:
        gateway.stop()
    lines = [line for line in gateway.log().splitlines() if not line.startswith("{")]
    assert {line.split('"')[2].split()[0] for line in lines} == {"101", "401", "426", "400", "405", "403"}
    assert all(line.startswith((CLIENT, "127.0.0.1")) and "?" not in line for line in lines)


def test_log_lines_of_a_connection_share_an_id(verbose_gateway: GatewayProcess, secrets: Secrets) -> None:
    path = f"/api/{time.time_ns()}"
    token = secrets.token("IDBOB")
    with RawClient(verbose_gateway.port) as client:
        answer = client.request({"X-Forwarded-For": f"10.0.0.1, {CLIENT}"}, f"GET {path} HTTP/1.1")
        assert answer.status == 101
        assert "challenge" in client.json()
        message = text({"jwt": f"Bearer {token}"})
        client.send(message)
        client.json()
        client.send(close(1000))
        with contextlib.suppress(AssertionError):
            client.closed()

    def closed() -> list[dict[str, Any]]:
        return [
            event
            for event in verbose_gateway.events()
            if event["event"] == "connection closed" and event["uid"] == "IDBOB"
        ]

    wait_until(lambda: bool(closed()), "its end in the log")
    end = closed()[-1]
    (upgrade,) = [event for event in verbose_gateway.events() if event.get("path") == path]
    assert (upgrade["status"], upgrade["method"], upgrade["address"]) == (101, "GET", CLIENT)
    own = [event for event in verbose_gateway.events() if event.get("connection") == upgrade["connection"]]
    assert [event["event"] for event in own] == ["connection opened", "request", "authenticated", "connection closed"]
    assert {"code": 1000, "address": CLIENT, "messages": 1, "protocol": "classic"}.items() <= end.items()
    assert end["bytes_received"] == len(message) + len(close(1000))
    assert end["bytes_sent"] > 100
    assert 0 < end["seconds"] < 60


@pytest.mark.parametrize(
    ("line", "header", "status"),
    [("GET /private HTTP/1.1", {}, 401), ("GET / HTTP/1.1", {"Sec-WebSocket-Key": "short"}, 400)],
)
def test_refusal_is_logged_with_an_id_and_counted(
    verbose_gateway: GatewayProcess, line: str, header: dict[str, str], status: int
) -> None:
    def refused() -> list[dict[str, Any]]:
        return [
            one for one in verbose_gateway.events() if one["event"] == "handshake refused" and one["status"] == status
        ]

    name = f'peatio_ws_refused_handshakes_total{{status="{status}"}}'
    before, counted = len(refused()), verbose_gateway.metric(name)
    with RawClient(verbose_gateway.port) as client:
        assert client.request({"X-Forwarded-For": CLIENT, **header}, line).status == status
    wait_until(lambda: len(refused()) > before, "the refusal in the log")
    assert refused()[-1]["address"] == CLIENT
    assert len(refused()[-1]["connection"]) == 12
    assert refused()[-1]["reason"]
    wait_until(lambda: verbose_gateway.metric(name) == counted + 1, "the refusal is counted")


def test_text_format_writes_one_line_for_each_event(tmp_path: Path, signer: Signer) -> None:
    environ = {**signer.environ, "AMQP_URL": "memory://", "LOG_FORMAT": "text", "LOG_ACCESS": "true"}
    gateway = GatewayProcess(tmp_path, environ)
    try:
        assert ask(gateway, f"GET /there?{PAYLOAD} HTTP/1.1", Upgrade=None) == 426
        wait_until(lambda: "request" in gateway.log() and "/there" in gateway.log(), "in the log")
    finally:
        gateway.stop()
    assert PAYLOAD not in gateway.log()
    assert not [line for line in gateway.log().splitlines() if json.dumps("event") in line]
    (line,) = [line for line in gateway.log().splitlines() if "/there" in line]
    assert "426" in line
