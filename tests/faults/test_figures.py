"""The metrics of three workers equal what clients counted, while workers exit and are killed."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.gateway import GatewayProcess, Publisher, Signer
from tests.support.servers import START_SECONDS, RabbitMQ, seldom, wait_until
from tests.support.swarm import Swarm, SwarmClient

WORKERS, MEMBERS, ONLOOKERS = 3, 45, 15
EVERY = 0.01
"""Seconds between two publications, each of a private and a public event."""
FRAMES = "peatio_ws_frames_total"


class Crowd(Swarm):
    """Clients of both protocols, and how many texts they had received at which time."""

    def __init__(self, gateway: GatewayProcess, signer: Signer) -> None:
        super().__init__()
        self.gateway, self.signer = gateway, signer
        self.got: list[tuple[float, int]] = []
        self.connect_all()

    def connect_all(self) -> None:
        """Connect all members and onlookers once more."""
        self.add(self.gateway.port, [self.signer.token(f"ID{number}") for number in range(MEMBERS)])
        for _ in range(ONLOOKERS):
            self.join(SwarmClient(self.gateway.port, None, "/public?stream=btcusd.trades"))
        self.until(lambda: all(client.texts for client in self.clients), "all clients are subscribed")

    def turn(self, seconds: float) -> None:
        super().turn(seconds)
        texts = self.texts()
        if not self.got or self.got[-1][1] != texts:
            self.got.append((time.time(), texts))

    def texts(self) -> int:
        return sum(len(client.texts) for client in self.clients)

    def texts_at(self, when: float) -> int:
        return max((texts for at, texts in self.got if at <= when), default=0)

    def export_times(self) -> list[float]:
        """Return when each worker last exported its counts, which it does about once a second."""
        turned = re.findall(r"^peatio_ws_worker_turned_\w+{.*} (.*)$", self.gateway.operators("/metrics")[1], re.M)
        return list(map(float, turned))

    def all_exported(self) -> bool:
        """Return whether every worker has exported its counts after the last text arrived."""
        exported = self.export_times()
        return len(exported) == WORKERS and min(exported) > self.got[-1][0]

    def settle(self) -> float:
        """Read until every worker has exported all its counts. Return the frame counter's value."""
        self.until(seldom(self.all_exported), "counted by every worker")
        return self.gateway.metric(FRAMES)


@contextmanager
def load(broker: RabbitMQ) -> Iterator[list[int]]:
    """Publish until the block ends. Yields the number of private events so far; there are as many public ones."""
    done, count = threading.Event(), [0]

    def publish() -> None:
        with Publisher(broker.url) as publisher:
            while not done.wait(EVERY):
                publisher.order(f"ID{count[0] % MEMBERS}", count[0])
                publisher.event("public.btcusd.trades", {"tid": count[0]})
                count[0] += 1

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        yield count
    finally:
        done.set()
        thread.join()


@contextmanager
def watching(gateway: GatewayProcess) -> Iterator[list[float]]:
    """Read the frame counter until the block ends. Yields the values."""
    done, seen = threading.Event(), list[float]()

    def ask() -> None:
        while not done.wait(0.02):
            value = gateway.metric(FRAMES)
            if value:  # 0: the worker that answered was killed meanwhile
                seen.append(value)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()


def end_one(crowd: Crowd, how: signal.Signals) -> list[SwarmClient]:
    """End a worker that has clients. Return those clients."""
    gateway, before = crowd.gateway, set(crowd.gateway.workers())
    there = [client for client in crowd.clients if not client.ended]
    for worker in before:
        os.kill(worker, how)
        crowd.until(lambda worker=worker: worker not in gateway.workers(), "the worker has exited", 60)  # type: ignore[misc]
        crowd.until(lambda: len(gateway.workers()) == WORKERS, "another worker has started", 60)
        crowd.until(
            seldom(lambda: gateway.metric("peatio_ws_broker_connected") == WORKERS), "it is connected to the broker", 60
        )
        if gone := [client for client in there if client.ended]:
            return gone
    raise AssertionError("no worker had a client")


def test_metrics_match_what_clients_counted(
    start: Callable[..., GatewayProcess], broker: RabbitMQ, signer: Signer
) -> None:
    gateway = start(WEB_CONCURRENCY=str(WORKERS), WEBSOCKET_DRAIN_SECONDS="0.2")

    def outcomes(metric: str, *labels: str) -> float:
        return gateway.total(metric, *labels)

    with Crowd(gateway, signer) as crowd, watching(gateway) as seen:
        with load(broker) as published:
            crowd.until(lambda: published[0] >= 200, "200 publications")
        events = published[0]
        crowd.until(
            lambda: all(f'"tid":{events - 1}' in c.texts[-1].replace(" ", "") for c in crowd.clients[MEMBERS:]),
            "all onlookers have the last event",
        )
        # Every worker read every event, every member received its own events, every onlooker the public ones.
        assert crowd.settle() == crowd.texts() == 2 * MEMBERS + ONLOOKERS + events * (1 + ONLOOKERS)
        for exchange in ("peatio.orderbook", "peatio.events.ranger"):
            assert outcomes("peatio_ws_deliveries_total", exchange, 'outcome="routed"') == WORKERS * events
        assert outcomes("peatio_ws_events_total") == 2 * WORKERS * events
        assert outcomes("peatio_ws_authentications_total", "accepted") == MEMBERS
        assert outcomes("peatio_ws_received_messages_total") == MEMBERS
        assert outcomes("peatio_ws_connections", 'state="member"') == MEMBERS
        assert outcomes("peatio_ws_connections", 'state="public"') == ONLOOKERS

        # Terminated under load: no count is lost.
        with load(broker):
            ended = end_one(crowd, signal.SIGTERM)
        assert crowd.settle() == crowd.texts()
        assert all(client.close and client.close[0] == 1012 for client in ended)
        assert outcomes("peatio_ws_closes_total", 'code="1012"') == outcomes("peatio_ws_closes_total") == len(ended)

        # Killed while idle: no count is lost either.
        cut = end_one(crowd, signal.SIGKILL)
        assert not any(client.close for client in cut)
        assert crowd.settle() == crowd.texts()

        # Killed under load: the counts since its last export are lost, and texts that its clients had not read.
        crowd.connect_all()
        had = {client: len(client.texts) for client in crowd.clients}
        with load(broker) as published:
            crowd.until(lambda: published[0] >= 200, "200 publications")
            crowd.until(seldom(lambda: len(crowd.export_times()) == WORKERS), "every worker has exported its counts")
            exported = min(crowd.export_times())
            cut = end_one(crowd, signal.SIGKILL)
        counted = crowd.settle()
        missing = crowd.texts() - counted
        # The export contains all texts before it. Only texts of the killed worker's own clients can be missing.
        most = min(crowd.texts() - crowd.texts_at(exported), sum(len(client.texts) for client in cut))
        # Of each publication an onlooker receives the public event; the private ones go to the members in turn.
        unread = sum(
            published[0] // (MEMBERS if client.token else 1) + 1 - (len(client.texts) - had[client]) for client in cut
        )
        print(f"frames {crowd.texts()}; missing {missing:.0f} of at most {most}; unread at most {unread}")
        assert -unread <= missing <= most
        left = sum(not client.ended for client in crowd.clients)
        wait_until(lambda: outcomes("peatio_ws_connections") == left, "only the remaining clients are counted")
        assert gateway.metric("peatio_ws_broker_connected") == WORKERS
    assert seen == sorted(seen), "a counter went backwards"


def test_other_workers_report_a_stuck_worker(folder: Path, signer: Signer) -> None:
    environ = {**signer.environ, "AMQP_URL": "amqp://guest:guest@127.0.0.1:1//", "WEB_CONCURRENCY": "2"}
    gateway = GatewayProcess(folder, environ, wait=False)
    try:
        turned = re.compile(r"^peatio_ws_worker_turned_timestamp_seconds\{[^}]*\} [1-9]", re.MULTILINE)
        wait_until(lambda: len(turned.findall(gateway.operators("/metrics")[1])) == 2, "both loops run", START_SECONDS)
        well = {"ok": True, "problems": []}.items()
        wait_until(lambda: well <= json.loads(gateway.operators("/healthz")[1]).items(), "no problem is reported")
        stuck = gateway.workers()[0]
        os.kill(stuck, signal.SIGSTOP)
        wait_until(lambda: f"worker {stuck} does not turn" in gateway.operators("/healthz")[1], "it is reported")
        os.kill(stuck, signal.SIGCONT)
        wait_until(lambda: json.loads(gateway.operators("/healthz")[1])["problems"] == [], "its event loop runs again")
    finally:
        gateway.stop()


def counted(gateway: GatewayProcess) -> float:
    return gateway.total("peatio_ws_received_messages_total")


def replace_worker(gateway: GatewayProcess) -> None:
    """Kill a worker. Return once another one has replaced it and is connected to the broker."""
    before = gateway.workers()
    os.kill(before[0], signal.SIGKILL)
    wait_until(lambda: len(set(gateway.workers()) - set(before)) == 1, "another worker", START_SECONDS)
    gateway.wait_ready()


def assert_serves(gateway: GatewayProcess, signer: Signer) -> None:
    for path in ("/healthz", "/readyz", "/metrics"):
        assert gateway.operators(path)[0] == 200, path
    with gateway.member(signer.token("IDFIGURE")):
        pass


def remove(folder: Path) -> None:
    """Remove a folder in which a gateway may create files at this moment."""
    renamed = folder.rename(folder.with_name(uuid.uuid4().hex))
    shutil.rmtree(renamed)


def test_removed_metrics_folder_is_harmless(
    start: Callable[..., GatewayProcess], signer: Signer, tmp_path: Path
) -> None:
    """Remove it as cleaners of temporary folders do, together with the folder above it."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    gateway = start(WEB_CONCURRENCY="2", TMPDIR=str(temporary))
    for _ in range(4):
        assert_serves(gateway, signer)
    wait_until(lambda: counted(gateway) == 4, "counted", START_SECONDS, 0.1)
    remove(temporary)
    assert_serves(gateway, signer)
    wait_until(lambda: counted(gateway) == 5, "nothing that was counted is lost", START_SECONDS, 0.1)
    remove(temporary)
    replace_worker(gateway)
    assert_serves(gateway, signer)
    wait_until(lambda: gateway.metric("peatio_ws_broker_connected") == 2, "metrics of both workers", START_SECONDS, 0.1)
    assert "Traceback" not in gateway.log()


def test_gateway_starts_where_no_file_can_be_written(start: Callable[..., GatewayProcess], signer: Signer) -> None:
    """It can write neither metrics nor temporary files nor its log."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        gateway = start(AMQP_URL="memory://")
        assert_serves(gateway, signer)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert gateway.log() == ""


def test_full_metrics_folder_is_harmless(start: Callable[..., GatewayProcess], signer: Signer) -> None:
    gateway = start()
    room = len(gateway.log()) + 40_000  # for its log, not for a metrics file
    resource.prlimit(gateway.pid, resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
    (worker,) = gateway.workers()
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: worker not in gateway.workers() and gateway.workers() != [], "another worker", START_SECONDS)
    gateway.wait_ready()
    assert_serves(gateway, signer)
    wait_until(lambda: counted(gateway) == 1, "its own metrics are exported", START_SECONDS, 0.1)
    (line,) = [event for event in gateway.events() if event["event"].startswith("metrics cannot be written")]
    assert line["error"] == "File too large"
    (worker,) = gateway.workers()
    for process in (gateway.pid, worker):
        resource.prlimit(process, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    wait_until(lambda: "metrics can be written again" in gateway.log(), "the recovery is logged", START_SECONDS)
    assert counted(gateway) == 1
