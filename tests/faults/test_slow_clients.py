"""One client that does not read, among many that do, and a broker with a backlog."""

from __future__ import annotations

import functools
import os
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from peatio_ws.transport.outbox import CLOSE_SECONDS
from tests.support.certificate import Certificate
from tests.support.gateway import GatewayProcess, Publisher, Signer
from tests.support.servers import RabbitMQ, seldom, wait_until
from tests.support.swarm import Swarm, SwarmClient

pytestmark = pytest.mark.usefixtures("empty_history")

READERS = 20
PADDING = "x" * 1500
BATCH, ENOUGH = 20, 1000
"""Orders of 6 KB: half an outbox of 256 KiB, and more than an outbox and both kernels' buffers of a connection hold."""
ORDERS = 500
"""With `PADDING` each: more than the gateway and both kernels buffer for a client with a window of 64 KiB."""
TRIES = 5
"""On a busy machine a client may be too slow to read again in time."""

Tls = tuple[dict[str, str], ssl.SSLContext | None]
"""Environment of the gateway, and the TLS context of its clients."""


@pytest.fixture(params=["ws", "wss"])
def tls(request: pytest.FixtureRequest, folder: Path) -> Tls:
    if request.param == "ws":
        return {}, None
    return over_tls(folder)


def over_tls(folder: Path) -> Tls:
    made = Certificate(folder / "slow-clients-tls")
    return made.environ, made.trusted()


def test_slow_client_is_closed_and_does_not_affect_others(
    start: Callable[..., GatewayProcess], signer: Signer, fast_publisher: Publisher, tls: Tls
) -> None:
    environ, context = tls
    gateway = start(WEBSOCKET_OUTBOX_BYTES="262144", WEBSOCKET_SEND_TIMEOUT="5", **environ)
    token = signer.token("IDANN")
    with Swarm() as swarm:
        swarm.add(gateway.port, [token] * READERS, tls=context)
        # With a small window: its kernel would otherwise take some MB more.
        (slow,) = swarm.add(gateway.port, [token], window=65_536, tls=context)
        slow.paused = True
        readers = swarm.clients[:READERS]

        def publish(first: int) -> None:
            """Publish half as many bytes as an outbox holds, so that only the slow client's is ever full."""
            for number in range(first, first + BATCH):
                fast_publisher.order("IDANN", number, ord_type=4 * PADDING)
            expected = first + BATCH + 2
            swarm.until(functools.partial(_have_received, readers, expected), "the other clients receive every order")

        for sent in range(0, ENOUGH, BATCH):
            publish(sent)
        closed = 'peatio_ws_closes_total{by="gateway",code="4413"}'
        swarm.until(seldom(lambda: gateway.metric(closed) == 1), "the slow client is disconnected")
        publish(ENOUGH)
        swarm.resume(slow)
        swarm.until(lambda: slow.ended, "the slow client has read the end of its connection")
        assert not any(client.ended for client in readers)
        assert len(slow.texts) < ENOUGH


def _have_received(clients: list[SwarmClient], texts: int) -> bool:
    return all(len(client.texts) == texts for client in clients)


def test_slow_client_that_reads_in_time_receives_the_close_frame(
    start: Callable[..., GatewayProcess], signer: Signer, broker: RabbitMQ, tls: Tls
) -> None:
    environ, context = tls
    gateway = start(WEBSOCKET_OUTBOX_BYTES="65536", WEBSOCKET_SEND_TIMEOUT="30", **environ)
    for first in range(0, TRIES * ORDERS, ORDERS):
        slow, seconds = _read_again(gateway, signer, broker, context, first)
        ids = [int(text[19 : text.index(",")]) for text in slow.texts[2:]]
        assert ids == list(range(first, first + len(ids))), "it received orders with a gap or out of order"
        assert len(ids) < ORDERS
        if slow.close is not None:
            break
        assert seconds >= CLOSE_SECONDS, "it read in time but received no close frame"
    assert slow.close is not None, "this machine is too slow to read in time"
    assert slow.close[0] == 4413


def _read_again(
    gateway: GatewayProcess, signer: Signer, broker: RabbitMQ, context: ssl.SSLContext | None, first: int
) -> tuple[SwarmClient, float]:
    """Return a client that read nothing until the gateway had disconnected it, and how long it then took to read the
    rest."""
    with Swarm() as swarm:
        # The window is small so that the rest can be sent before the closing connection is cut.
        (slow,) = swarm.add(gateway.port, [signer.token("IDANN")], window=65_536, tls=context)
        slow.paused = True
        (probe,) = swarm.add(gateway.port, [signer.token("IDBOB")], tls=context)
        began = last = time.monotonic()
        with Publisher(broker.url, confirm=False) as publisher:  # as fast as possible
            for number in range(first, first + ORDERS):
                publisher.order("IDANN", number, ord_type=PADDING)
            publisher.order("IDBOB", first)
        swarm.until(lambda: len(probe.texts) == 3, "all of it has been routed")
        swarm.resume(slow)
        while not slow.ended:
            texts = len(slow.texts)
            swarm.until(
                lambda texts=texts: slow.ended or len(slow.texts) > texts, "the client has read more, or the end"
            )  # type: ignore[misc]
            last = last if len(slow.texts) == texts else time.monotonic()
    return slow, last - began


def test_a_ping_is_answered_while_the_broker_has_a_backlog(
    start: Callable[..., GatewayProcess], signer: Signer, fast_publisher: Publisher, folder: Path
) -> None:
    """Over TLS, with a worker that is stopped while 12,000 messages arrive, and then continued."""
    import signal

    environ, context = over_tls(folder)
    gateway = start(**environ)
    (worker,) = gateway.workers()
    with Swarm() as swarm:
        swarm.add(gateway.port, [signer.token("IDANN")] * 20, tls=context)
        (other,) = swarm.add(gateway.port, [signer.token("IDBOB")], tls=context)
        os.kill(worker, signal.SIGSTOP)
        for number in range(12_000):
            fast_publisher.order("IDANN", number)
        fast_publisher.order("IDBOB", 1)
        fast_publisher.settle()
        before = dict.fromkeys(other.texts)
        other.send(b"not understood")  # answered at once, like a ping, but with a text frame, which this client records
        os.kill(worker, signal.SIGCONT)
        swarm.until(lambda: len(other.texts) > len(before), "the client is answered")
        assert "Error while handling message" in other.texts[-1], "the answer waited for the backlog"
        swarm.until(lambda: len(other.texts) == len(before) + 2, "its own order comes after the 12,000")
        swarm.until(lambda: all(len(client.texts) == 12_002 for client in swarm.clients[:20]), "all delivered")


def test_disconnected_clients_leave_nothing_behind(
    start: Callable[..., GatewayProcess], signer: Signer, publisher: Publisher
) -> None:
    gateway = start()
    (worker,) = gateway.workers()

    def descriptors() -> int:
        return len(os.listdir(f"/proc/{worker}/fd"))

    with Swarm() as swarm:
        swarm.add(gateway.port, [signer.token("IDZERO")])
        before = descriptors()
        with Swarm() as visitors:
            visitors.add(gateway.port, [signer.token(f"ID{number}") for number in range(300)])
            wait_until(lambda: gateway.total("peatio_ws_connections") == 301, "all are counted")
        swarm.until(
            lambda: gateway.total("peatio_ws_connections") == 1 and descriptors() <= before + 2,
            "neither connections nor descriptors are left over",
        )
