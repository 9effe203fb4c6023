"""A hundred thousand messages that no client should send, to a real gateway. Each is answered, or the connection is
closed with a documented code, and other clients do not notice.

    python -m tests.programs.fuzz [--count 100000] [--seed 1] [--tls]

A twentieth as many requests and raw streams of frames are sent too. The same seed sends the same again. With
`--tls` all of it goes over TLS.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import ssl
import sys
import threading
import time
from collections import Counter, deque
from pathlib import Path
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from tests.support import progress
from tests.support.certificate import Certificate
from tests.support.gateway import WAIT, GatewayProcess, Publisher, Signer, authenticate, receive
from tests.support.nonsense import LARGEST, SECRET, Message, Nonsense
from tests.support.raw_client import BINARY, CLOSE, TEXT, Answer, Frame, RawClient, frame
from tests.support.servers import RabbitMQ, scratch, wait_until

AT_ONCE = 60
"""Messages on their way on one connection."""
STATUSES = (101, 400, 401, 405, 411, 413, 414, 426, 431, 501, 505)
"""What a request may be answered with here."""
MARKED = b'{"event":"mark","number":%d}'
"""Sent behind a message, and sent back by `fuzz_app`."""
MARK = b"of-a-bystander"
"""A text in all events of bystanders; no other client may receive it."""


# ---- messages

PATHS = ("/", "/public?stream=a.trades", "/", "/public")


class Sender:
    """Sends messages over one connection after the other, and checks that each is answered that has to be.

    A mark follows each message, and a handler answers it in order. A ping would not do: its pong need not wait while
    a subscription waits for the broker.
    """

    def __init__(self, port: int, path: str, tls: ssl.SSLContext | None) -> None:
        self._port, self._path, self._tls = port, path, tls
        self.closes: Counter[int] = Counter()
        self.due: deque[Message] = deque()

    def send_all(self, messages: list[Message]) -> None:
        self.due = due = deque(messages)
        while due:
            with RawClient(self._port, self._tls) as client:
                client.upgrade(self._path)
                assert client.next() is not None, "it begins with a word of the gateway"
                while due and self._send_some(client, due):
                    pass

    def _send_some(self, client: RawClient, due: deque[Message]) -> bool:
        """Send some messages and remove answered ones. Return False once the connection is closed."""
        batch = list(due)[:AT_ONCE]
        client.send(*(frame(*message) + frame(TEXT, MARKED % number) for number, message in enumerate(batch)))
        number, answered = 0, False
        while number < len(batch):
            found = client.next()
            assert found is not None, f"hung up on without a close frame after {batch[number]!r:.200}"
            if found.payload == MARKED % number:
                assert answered is not self._is_silent(batch[number]), f"{answered}: {batch[number]!r:.200}"
                number, answered = number + 1, False
                due.popleft()
            elif found.opcode == CLOSE:
                self._check_close(found, due.popleft())
                with contextlib.suppress(ConnectionError):  # cut, because it went on sending
                    client.send(frame(CLOSE, found.payload[:2]))
                return False
            else:
                answered |= self._is_answer(found)
        return True

    def _is_silent(self, message: Message) -> bool:
        """Return whether a message has no answer: Ranger's clients send blanks to keep a connection."""
        opcode, payload = message
        return opcode == TEXT and self._path != "/" and not payload.decode(errors="replace").strip()

    def _is_answer(self, found: Frame) -> bool:
        assert (found.opcode, found.fin) == (TEXT, True), found
        assert MARK not in found.payload, "what was a bystander's"
        if found.payload == b"pong":
            return True
        return bool(json.loads(found.payload).keys() & {"success", "error"})

    def _check_close(self, found: Frame, message: Message) -> None:
        code, reason = int.from_bytes(found.payload[:2]), found.payload[2:].decode()
        opcode, payload = message
        self.closes[code] += 1
        if opcode == BINARY:
            due = 1003
        elif len(payload) > LARGEST:
            due = 1009
        else:
            try:
                payload.decode()
                due = 1008
            except UnicodeDecodeError:
                due = 1007
        assert code == due, f"{code} {reason} for {message!r:.200}"
        assert code != 1008 or reason == "too many failed authentications"


def send_requests(port: int, nonsense: Nonsense, count: int, tls: ssl.SSLContext | None) -> Counter[int]:
    """Send odd requests. Return how they were answered. The gateway may close the connection if it is not a request."""
    statuses: Counter[int] = Counter()
    for number in range(count):
        progress.tell(f"{number:,} of {count:,} requests")
        request = nonsense.request()
        with RawClient(port, tls) as client:
            if nonsense.chance(0.1):
                client.send(request[: len(request) // 2])
                client.reset()
                continue
            client.send(request)
            client.finish()
            answer: Answer = client.answer()
        assert answer.status in (0, *STATUSES), f"{answer} to {request[:300]!r}"
        statuses[answer.status] += 1
    return statuses


def send_frames(port: int, nonsense: Nonsense, count: int, tls: ssl.SSLContext | None) -> Counter[int]:
    """Send odd frames, then end. Return the codes with which connections were closed (0 without one)."""
    codes: Counter[int] = Counter()
    for number in range(count):
        progress.tell(f"{number:,} of {count:,} streams of frames")
        data = nonsense.frames()
        with RawClient(port, tls) as client:
            client.upgrade(PATHS[number % len(PATHS)])
            with contextlib.suppress(ConnectionError):  # closed before it had said all
                client.send(data)
                client.finish()
            code = 0
            while (found := client.next()) is not None:
                assert not code, f"{found} after the close frame"
                if found.opcode == CLOSE:
                    code = int.from_bytes(found.payload[:2])
        assert code in (0, 1000, 1002, 1003, 1007, 1008, 1009) or code >= 3000, f"{code} for {data[:300]!r}"
        codes[code] += 1
    return codes


# ---- clients that must not notice


class Bystanders:
    """One client of each protocol that receives its events throughout."""

    def __init__(self, gateway: GatewayProcess, url: str, signer: Signer, tls: ssl.SSLContext | None) -> None:
        self._gateway, self._url, self._token = gateway, url, signer.token("IDBYSTANDER")
        self._tls: dict[str, Any] = {"ssl": tls, "server_hostname": "localhost"} if tls is not None else {}
        self._over = threading.Event()
        self._published = 0
        self._frames: tuple[list[Any], list[Any]] = ([], [])

    def __enter__(self) -> Bystanders:
        self._stack = contextlib.ExitStack()
        connect = self._gateway.connect
        self._classic = self._stack.enter_context(connect(**self._tls))
        assert "challenge" in receive(self._classic)
        authenticate(self._classic, self._token)
        header = {"Authorization": f"Bearer {self._token}"}
        self._ranger = self._stack.enter_context(
            connect("private?stream=order,stander.trades,stander.ob-inc", additional_headers=header, **self._tls)
        )
        assert "success" in receive(self._ranger)
        self._publisher = threading.Thread(target=self._publish)
        readers = zip((self._classic, self._ranger), self._frames, strict=True)
        self._readers = [threading.Thread(target=self._read, args=reader) for reader in readers]
        for thread in (self._publisher, *self._readers):
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._publisher.join()
        self._stack.close()
        for reader in self._readers:
            reader.join()

    @property
    def events(self) -> int:
        """Return how many events they have received so far."""
        return sum(map(len, self._frames))

    def check(self) -> None:
        """Check that all events arrived, in order, and that the connections are open. Ends the publishing."""
        self._over.set()
        self._publisher.join()
        count, (orders, frames) = self._published, self._frames
        wait_until(lambda: len(orders) >= count and len(frames) >= 3 * count, "all events of the bystanders")
        assert [frame["orderbook"]["id"] for frame in orders] == list(range(count))
        # Orders and streams come by two ways; each has its order.
        for stream in ("order", "stander.trades"):
            assert [frame[stream]["id"] for frame in frames if stream in frame] == list(range(count))
        books = [book["sequence"] for frame in frames for name, book in frame.items() if ".ob-" in name]
        assert books == list(range(count))
        for client in (self._classic, self._ranger):
            assert client.ping().wait(WAIT)

    @staticmethod
    def _read(client: ClientConnection, frames: list[Any]) -> None:
        with contextlib.suppress(ConnectionClosed):  # that it was not too soon, `check` looks at
            for text in client:
                frames.append(json.loads(text))

    def _publish(self) -> None:
        mark = MARK.decode()
        with Publisher(self._url) as publisher:
            while not self._over.is_set():
                number = self._published
                body = {"asks": [["1", "1"]], "bids": [], "sequence": number, "note": mark}
                publisher.event(f"public.stander.ob-{'inc' if number else 'snap'}", body)
                publisher.event("public.stander.trades", {"id": number, "note": mark})
                publisher.order("IDBYSTANDER", number, state=mark)
                self._published = number + 1
                self._over.wait(0.05)


def fuzz(folder: Path, broker: RabbitMQ, count: int, seed: int, over_tls: bool = False) -> dict[str, Any]:
    """Run it. Return the outcomes. AssertionError if the gateway did what it should not."""
    tls: ssl.SSLContext | None = None
    signer = Signer("ES256")
    tokens = [signer.token("IDFUZZ"), signer.token("IDFUZZ", role="admin"), signer.token("IDFUZZ", exp=1)]
    environ = {"WEBSOCKET_MESSAGE_BURST": "10000000", "RANGO_RBAC_ADMIN": "admin", "LOG_LEVEL": "debug"}
    # A machine with other things to do may hold up the loop for a while; no message may for long.
    environ["WEBSOCKET_MAX_BLOCKING_SECONDS"] = "5"
    if over_tls:
        files = Certificate(folder / "fuzz-tls")
        environ, tls = environ | files.environ, files.trusted_by_threads()
    command = ("gunicorn", "tests.support.apps.fuzz_app")
    gateway = GatewayProcess(folder, {"AMQP_URL": broker.url, **signer.environ, **environ}, command)
    began = time.monotonic()
    try:
        with Bystanders(gateway, broker.url, signer, tls) as bystanders:
            messages = list(Nonsense(seed, tokens).messages(count))
            senders = [Sender(gateway.port, path, tls) for path in PATHS]
            _in_threads(senders, messages)
            nonsense = Nonsense(seed + 1, tokens)
            statuses = send_requests(gateway.port, nonsense, count // 20, tls)
            codes = send_frames(gateway.port, nonsense, count // 20, tls)
            meanwhile = bystanders.events
            bystanders.check()
        log = gateway.log()
        loud = [event for event in gateway.events() if event.get("level") in ("error", "critical", "warning")]
        loud = [event for event in loud if event["event"] != "limit reached"]
        assert not loud, loud[:3]
        assert "Traceback" not in log
        for hidden in (SECRET, MARK.decode(), *tokens):
            assert hidden not in log, f"the log has {hidden[:40]}"
        strange = [line for line in log.splitlines() if not line.startswith("{")]
        assert not strange, strange[:3]
    finally:
        gateway.stop()
    closes = sum((sender.closes for sender in senders), Counter[int]())
    return {
        "messages": len(messages),
        "closes": dict(closes),
        "requests": dict(statuses),
        "frames": dict(codes),
        "bystanders' events": meanwhile,
        "seconds": round(time.monotonic() - began, 1),
    }


def _in_threads(senders: list[Sender], messages: list[Message]) -> None:
    """Run each sender's share at the same time."""
    failures: list[BaseException] = []

    def run(number: int, sender: Sender) -> None:
        try:
            sender.send_all(messages[number :: len(senders)])
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=run, args=each) for each in enumerate(senders)]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            left = sum(len(sender.due) for sender in senders)
            progress.tell(f"{len(messages) - left:,} of {len(messages):,} messages")
            thread.join(progress.EACH)
    if failures:
        raise failures[0]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tls", action="store_true")
    options = parser.parse_args()
    with scratch() as folder:
        progress.tell("starting a broker and a gateway")
        broker = RabbitMQ(folder / "rabbitmq")
        try:
            found = fuzz(folder, broker, options.count, options.seed, options.tls)
            progress.end()
            print(json.dumps(found, indent=2))
        finally:
            broker.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
