"""Every reason for which the gateway closes or refuses a connection, with its code on the wire (contract section 6)."""

from __future__ import annotations

import contextlib
import json
import re
import time

from peatio_ws.close_codes import Close
from tests.support.gateway import GatewayProcess, Publisher, Signer
from tests.support.raw_client import CLOSE, PING, PONG, WAIT, Frame, RawClient, close, frame, text
from tests.support.servers import wait_until
from tests.support.serving import NOT_UNDERSTOOD, Start, authenticated, gateway_client


def test_too_many_failed_authentications_close_with_1008(gateway: GatewayProcess) -> None:
    with gateway_client(gateway) as client:
        client.send(*[text({"jwt": "Bearer no.such.token"}) for _ in range(5)])
        for _ in range(5):
            assert client.json() == {"error": {"message": "Authentication failed."}}
        assert client.closed()[0] == Close.POLICY


def test_too_many_messages_close_with_1008(start: Start) -> None:
    gateway = start(WEBSOCKET_MESSAGE_BURST="5", WEBSOCKET_MESSAGE_RATE="0.1")
    with gateway_client(gateway) as client:
        client.send(*[text("{}") for _ in range(20)])
        for _ in range(5):
            assert client.json() == NOT_UNDERSTOOD
        assert client.closed() == (1008, "too many messages")


def test_restart_closes_all_with_1012_and_a_retry_time(start: Start, signer: Signer) -> None:
    gateway = start(WEBSOCKET_DRAIN_SECONDS="0.5")
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(gateway_client(gateway)) for _ in range(5)]
        assert gateway.process is not None
        gateway.process.terminate()
        for client in clients:
            code, reason = client.closed()
            assert code == 1012
            assert re.fullmatch(r"restart; retry after \d+", reason)
            client.send(close(code))
            client.ended()
        assert gateway.process.wait(WAIT) == 0


def upgrades(gateway: GatewayProcess) -> bool:
    with RawClient(gateway.port) as client:
        return client.request().status == 101


def test_a_full_gateway_answers_503_or_429(start: Start) -> None:
    full = start(WEBSOCKET_MAX_CONNECTIONS="2")
    with gateway_client(full):
        with gateway_client(full), RawClient(full.port) as third:
            answer = third.request()
            assert (answer.status, answer.body) == (503, b"Full.\n")
            assert int(answer.headers["retry-after"]) > 0
        wait_until(lambda: upgrades(full), "room for one more")
    limited = start(WEBSOCKET_MAX_CONNECTIONS_PER_ADDRESS="1")
    with gateway_client(limited), RawClient(limited.port) as another:
        answer = another.request()
        assert answer.status == 429
        assert int(answer.headers["retry-after"]) > 0


def test_a_member_with_too_many_connections_gets_1013(start: Start, signer: Signer) -> None:
    gateway = start(WEBSOCKET_MAX_CONNECTIONS_PER_MEMBER="1")
    token = signer.token("IDANN")
    with RawClient(gateway.port) as first, gateway_client(gateway) as second:
        authenticated(first, token)
        second.send(text({"jwt": f"Bearer {token}"}))
        assert second.closed() == (1013, "too many connections of this member")


def test_expired_token_closes_with_4401(start: Start, signer: Signer) -> None:
    gateway = start(JWT_ENFORCE_EXPIRY="true")
    with RawClient(gateway.port) as lasting, RawClient(gateway.port) as client:
        authenticated(lasting, signer.token("IDBOB"))
        # The lifetime has to be long enough to authenticate in time.
        authenticated(client, signer.token("IDANN", exp=int(time.time()) + 5))
        assert client.json() == {"error": {"message": "Token expired."}}
        assert client.closed() == (4401, "token expired")
        lasting.send(frame(PING))
        assert lasting.next() == Frame(PONG, b"")


def test_idle_anonymous_connection_is_closed(start: Start, signer: Signer) -> None:
    gateway = start(WEBSOCKET_AUTH_TIMEOUT="4")
    with RawClient(gateway.port) as member, gateway_client(gateway) as client:
        authenticated(member, signer.token("IDANN"))
        assert client.closed() == (4408, "neither authenticated nor subscribed within 4 s")
        member.send(frame(PING))
        assert member.next() == Frame(PONG, b"")


def test_a_client_that_answers_no_ping_is_closed_with_4408(start: Start) -> None:
    gateway = start(WEBSOCKET_PING_INTERVAL="1", WEBSOCKET_PING_TIMEOUT="3")
    with gateway_client(gateway) as living, gateway_client(gateway) as dead:
        pings = 0
        for _ in range(5):
            assert living.next() == Frame(PING, b"")
            living.send(frame(PONG))
        while (found := dead.next()) == Frame(PING, b""):
            pings += 1
        assert found is not None
        assert found.payload == b"\x11\x38" + b"no sign of life"
        assert pings >= 1
        assert living.next() == Frame(PING, b""), "a client that answers was closed, too"


def read_orders_until_close(client: RawClient) -> tuple[int, tuple[int, str]]:
    """Return how many whole orders arrive before the close frame, and its code and reason."""
    count = 0
    while True:
        found = client.next()
        assert found is not None, "the server disconnected without a close frame"
        if found.opcode == CLOSE:
            return count, (int.from_bytes(found.payload[:2], "big"), found.payload[2:].decode())
        assert json.loads(found.payload)["orderbook"]["id"] == count
        count += 1


def test_client_with_a_full_outbox_is_closed_with_4413(start: Start, signer: Signer, publisher: Publisher) -> None:
    gateway = start(WEBSOCKET_OUTBOX_BYTES="200000")
    with RawClient(gateway.port, receive_buffer=4096) as slow, RawClient(gateway.port) as quick:
        authenticated(slow, signer.token("IDANN"))
        authenticated(quick, signer.token("IDBOB"))
        for number in range(40):
            publisher.order("IDANN", number, price="1" * 60_000)
        publisher.order("IDBOB", 7)
        assert quick.json()["orderbook"]["id"] == 7
        count, closed = read_orders_until_close(slow)
        assert closed == (4413, "too slow: more than 200000 bytes waiting")
        assert 0 < count < 40


def test_client_that_reads_nothing_is_closed_with_4413(start: Start, signer: Signer, publisher: Publisher) -> None:
    gateway = start(WEBSOCKET_SEND_TIMEOUT="6")  # the metric is a second old, or more on a busy machine
    with RawClient(gateway.port, receive_buffer=4096) as slow:
        authenticated(slow, signer.token("IDANN"))
        for number in range(12):
            publisher.order("IDANN", number, price="1" * 60_000)
        wait_until(lambda: gateway.metric("peatio_ws_outbox_bytes") > 250_000, "the client is slow")
        wait_until(lambda: gateway.metric("peatio_ws_outbox_bytes") < 250_000, "its waiting frames are dropped")
        count, closed = read_orders_until_close(slow)
        assert closed == (4413, "too slow: nothing taken for 6 s")
        assert 0 < count < 12
