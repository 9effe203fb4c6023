"""The examples of docs/handlers.md, pasted into files and started as a reader would."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from websockets.sync.client import ClientConnection

from tests.support.gateway import ROOT, WAIT, GatewayProcess, Publisher, Signer, receive
from tests.support.sentry import Sentry
from tests.support.servers import RabbitMQ, wait_until

BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
Serve = Callable[[str], GatewayProcess]


def page_examples() -> dict[str, str]:
    """Return the page's examples by the file name in their first line."""
    blocks = BLOCK.findall((ROOT / "docs" / "handlers.md").read_text())
    return {re.match(r"# (\w+\.py)\n", block)[1]: block for block in blocks}  # type: ignore[index]


@pytest.fixture(scope="module")
def pasted(folder: Path) -> Path:
    """A folder that contains all examples of the page."""
    place = folder / "pasted"
    place.mkdir()
    for name, text in page_examples().items():
        (place / name).write_text(text)
    return place


@pytest.fixture
def serve(pasted: Path, broker: RabbitMQ, signer: Signer) -> Iterator[Serve]:
    running: list[GatewayProcess] = []

    def start(module: str) -> GatewayProcess:
        environ = {"AMQP_URL": broker.url, **signer.environ}
        running.append(GatewayProcess(pasted / "logs", environ, ("peatio_ws", "run", module), cwd=pasted))
        return running[-1]

    yield start
    for process in running:
        process.stop()
        assert not process.tracebacks()


def test_first_handlers_of_the_page(serve: Serve, signer: Signer) -> None:
    gateway = serve("handlers")
    with gateway.connect("echo") as client:
        client.send("hello")
        assert client.recv(timeout=WAIT) == "hello"
    with gateway.member(signer.token("IDANN")) as ann, gateway.connect() as nobody:
        ann.send('{"event":"cancel_all"}')
        assert receive(ann) == {"success": {"message": "done"}}
        receive(nobody)
        nobody.send('{"event":"cancel_all"}')
        assert receive(nobody) == {"error": {"message": "Not authenticated."}}


def test_events_and_pushes_of_the_page(serve: Serve, pasted: Path, signer: Signer, broker: RabbitMQ) -> None:
    gateway = serve("orders")
    headers = {"Authorization": f"Bearer {signer.token('IDANN')}"}
    path = "private?stream=cancelled&stream=deposit&stream=btcusd.trades"
    with gateway.connect(path, additional_headers=headers) as ann:
        receive(ann)
        for message in ({"event": "cancel_all", "market": "btcusd"}, {"event": "cancel_all"}, {"event": "report"}):
            ann.send(json.dumps(message))
        found = [ann.recv(timeout=WAIT) for _ in range(4)]
        event = '{"cancelled":{"market":"btcusd"}}'
        assert event in found
        found.remove(event)
        assert found == [
            '{"success":{"message":"done"}}',
            '{"error":"no such market"}',
            '{"report":4999950000}',
        ]
        environ = {**os.environ, "PYTHONPATH": str(ROOT), "AMQP_URL": broker.url}
        subprocess.run([sys.executable, pasted / "push.py"], env=environ, check=True, timeout=60)
        # Private and public events come over separate broker connections, in any order.
        pushed = {**receive(ann), **receive(ann)}
        assert pushed == {"deposit": {"currency": "btc", "amount": "0.5"}, "btcusd.trades": {"trades": []}}


def test_chat_of_the_page(serve: Serve, signer: Signer) -> None:
    gateway = serve("chat")
    ann, bob = ({"Authorization": f"Bearer {signer.token(uid)}"} for uid in ("IDANN", "IDBOB"))
    with (
        gateway.connect("chat", additional_headers=ann) as first,
        gateway.connect("chat", additional_headers=bob) as second,
    ):
        second.send("I am here")
        assert second.recv(timeout=WAIT) == "IDBOB: I am here"
        first.send("hello")
        while (said := first.recv(timeout=WAIT)) != "IDANN: hello":
            assert said == "IDBOB: I am here"
        assert second.recv(timeout=WAIT) == "IDANN: hello"


def test_browsers_authenticate_as_on_the_page(serve: Serve, signer: Signer, broker: RabbitMQ) -> None:
    gateway = serve("fills")
    token = signer.token("IDANN")
    with (
        gateway.connect("fills?market=ethusd", additional_headers={"Cookie": f"a=b; token={token}"}) as by_cookie,
        gateway.connect("fills?market=ethusd") as by_message,
    ):
        by_message.send(token)
        with Publisher(broker.url) as publisher:
            for client in (by_cookie, by_message):
                wait_until(lambda client=client: receives(client, publisher), "both arrive")  # type: ignore[misc]


def receives(client: ClientConnection, publisher: Publisher) -> bool:
    """Publish a public event and a fill; return whether the client, which may not be subscribed yet, received both."""
    publisher.event("public.ethusd.trades", {"trades": []})
    publisher.event("private.IDANN.trade", {"id": 1})
    seen = set[str]()
    with contextlib.suppress(TimeoutError):
        while len(seen) < 2:
            seen |= receive(client, 1).keys()
    return seen == {"trade", "ethusd.trades"}


def test_failure_of_a_handler_reaches_sentry_as_on_the_page(pasted: Path, broker: RabbitMQ, signer: Signer) -> None:
    with Sentry() as sentry:
        environ = {"AMQP_URL": broker.url, **signer.environ, "SENTRY_DSN": sentry.dsn}
        gateway = GatewayProcess(pasted / "logs", environ, ("peatio_ws", "run", "reported"), cwd=pasted)
        try:
            with gateway.member(token := signer.token("IDANN")) as ann:
                ann.send('{"event":"withdraw","amount":"70000001"}')
                assert receive(ann) == {"error": {"message": "Error while handling message."}}
            wait_until(lambda: sentry.events(), "the event arrives")
        finally:
            gateway.stop()
    (event,) = sentry.events()
    (raised,) = event["exception"]["values"]
    assert (raised["type"], raised["value"]) == ("ConnectionError", "the wallet does not answer")
    assert raised["stacktrace"]["frames"][-1]["function"] == "withdraw"
    assert (event["logger"], event["level"]) == ("peatio_ws.server.connections.event_session", "error")
    (logged,) = (line for line in gateway.events() if line["event"] == "handler failed")
    assert event["extra"]["connection"] == logged["connection"]
    assert event["extra"]["handler"] == "withdraw"
    assert len(gateway.tracebacks()) == 1
    for text in (token, "70000001"):
        assert text not in json.dumps(event)


def test_tests_on_the_page_pass_in_a_separate_process(pasted: Path) -> None:
    """The process has neither gevent's patches nor any environment variable."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("JWT_", "AMQP_"))}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "test_chat.py"],
        cwd=pasted,
        env={**environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout
