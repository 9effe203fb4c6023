"""Crowds whose single routing keys are bound at the broker, and what they miss when it is lost.

    python -m tests.programs.crowds members [--workers 4] [--clients 10000]  # AMQP_HISTORY=off, the broker is restarted
    python -m tests.programs.crowds streams [--clients 300] [--names 200]    # WEBSOCKET_BOOKS=ob, connections closed
    python -m tests.programs.crowds churn [--clients 40] [--seconds 20]      # clients subscribe and unsubscribe

Each prints how long members, or an honest client, received nothing, and RabbitMQ's CPU time. Ends with status 1 if that
was longer than `LIMITS` says.

`--clients` of `members` is the number for each worker. Each such share is a process with its own address, because ports
and open files are limited.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import multiprocessing
import os
import resource
import secrets
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection as Pipe
from pathlib import Path

import jwt

from tests.support.gateway import GatewayProcess, Publisher, Signer
from tests.support.raw_client import RawClient, text
from tests.support.servers import RabbitMQ, scratch, wait_until
from tests.support.swarm import Swarm, SwarmClient

LIMITS = {"members": 60.0, "streams": 5.0}
"""Seconds within which all clients have to receive events again."""
WAIT = 900.0
RATE = 2000
"""Events a second for members."""
IDLE = 0.15
"""Share of a core that RabbitMQ uses at most while it is idle."""
QUIET = 3
_TICK = 1 / os.sysconf("SC_CLK_TCK")


def cpu(pid: int) -> float:
    """Return the CPU time of a process in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK


def routes(broker: RabbitMQ) -> int:
    """Return the number of bindings."""
    return int(broker.ctl("eval", "ets:info(rabbit_route, size)."))


def until_settled(broker: RabbitMQ) -> tuple[float, int]:
    """Wait until RabbitMQ is idle and the number of bindings stays the same. Return since when, and the number."""
    count, since = routes(broker), until_idle(broker)
    while (now := routes(broker)) != count:
        count, since = now, until_idle(broker)
    return since, count


def until_idle(broker: RabbitMQ) -> float:
    """Wait until RabbitMQ has been idle for `QUIET` seconds. Return since when."""
    began, idle = time.monotonic(), 0
    while idle < QUIET:
        assert time.monotonic() < began + WAIT, "RabbitMQ is still busy"
        before = cpu(broker.pid)
        time.sleep(1)
        idle = idle + 1 if cpu(broker.pid) - before < IDLE else 0
    return time.monotonic() - QUIET


# ---- members


def uid_of(share: int, number: int) -> str:
    return f"ID{share}X{number}"


def run_members(pipe: Pipe, port: int, secret: str, share: int, clients: int) -> None:
    """Connect a share of all members, then answer each message from the pipe.

    `"forget"` forgets received events. `"missing"` is answered with the numbers of members that have received nothing
    since, and the number of connections that have ended.
    """
    now = int(time.time())
    claims = {"iat": now, "exp": now + 7200, "sub": "session", "iss": "barong", "aud": ["peatio"], "state": "active"}
    with Swarm() as swarm:
        for number in range(clients):
            claims |= {"jti": f"{share}-{number}", "uid": uid_of(share, number), "role": "member"}
            token = jwt.encode(claims, secret, algorithm="HS256")
            swarm.join(SwarmClient(port, token, source=f"127.0.0.{share + 2}", window=4096))
            swarm.turn(0)
        waiting = swarm.clients
        while waiting:
            swarm.turn(0.2)
            waiting = [one for one in waiting if not one.authenticated and not one.ended]
        pipe.send("ready")
        while True:
            swarm.turn(0.05)
            if not pipe.poll():
                continue
            match pipe.recv():
                case "forget":
                    for client in swarm.clients:
                        client.texts.clear()
                case "missing":
                    missing = [number for number, client in enumerate(swarm.clients) if not client.texts]
                    pipe.send((missing, sum(client.ended for client in swarm.clients)))
                case _:
                    return


@contextlib.contextmanager
def start_members(gateway: GatewayProcess, secret: str, shares: int, clients: int) -> Iterator[list[Pipe]]:
    """Authenticate all members. Return a pipe to each share's process."""
    spawn, pipes, processes = multiprocessing.get_context("spawn"), [], []
    try:
        for share in range(shares):
            ours, theirs = spawn.Pipe()
            process = spawn.Process(
                target=run_members, args=(theirs, gateway.port, secret, share, clients), daemon=True
            )
            process.start()
            pipes.append(ours)
            processes.append(process)
        for pipe in pipes:
            assert pipe.poll(WAIT), "not all members are authenticated"
            assert pipe.recv() == "ready"
        yield pipes
    finally:
        for process in processes:
            process.kill()
            process.join()


def missing_members(pipes: list[Pipe]) -> tuple[list[str], int]:
    """Return the uids of members that have received nothing, and the number of connections that have ended."""
    for pipe in pipes:
        pipe.send("missing")
    answers = [pipe.recv() for pipe in pipes]
    uids = [uid_of(share, number) for share, (numbers, _) in enumerate(answers) for number in numbers]
    return uids, sum(ended for _, ended in answers)


def publish_to(publisher: Publisher, uids: list[str]) -> None:
    began = time.monotonic()
    for number, uid in enumerate(uids):
        publisher.event(f"private.{uid}.order", {"id": number})
        if number % 100 == 0:
            time.sleep(max(0.0, began + number / RATE - time.monotonic()))


def publish_until_all_receive(url: str, pipes: list[Pipe]) -> int:
    """Publish to each member until it has received something. Return the number of rounds."""
    for rounds in itertools.count(1):
        with Publisher(url, confirm=False) as publisher:
            uids, ended = missing_members(pipes)
            assert not ended, f"{ended} connections have ended"
            publish_to(publisher, uids)
        before = len(uids) + 1
        while uids and len(uids) < before:  # wait as long as published events arrive
            before = len(uids)
            time.sleep(1)
            uids, _ = missing_members(pipes)
        if not uids:
            return rounds
        print(f"    {len(uids)} members have got nothing after round {rounds}", flush=True)
    raise AssertionError


def members(folder: Path, broker: RabbitMQ, workers: int, clients: int) -> float:
    """Restart the broker with `AMQP_HISTORY=off`. Return the seconds until every member receives events again."""
    secret = secrets.token_hex(32)
    environ = {
        **Signer("ES256").environ,
        "AMQP_URL": broker.url,
        "AMQP_HISTORY": "off",
        "JWT_ALGORITHM": "HS256",
        "JWT_PUBLIC_KEY": secret,
        "LOG_LEVEL": "warning",
        "WEB_CONCURRENCY": str(workers),
        "WEBSOCKET_MAX_CONNECTIONS": str(2 * clients),
    }
    gateway = GatewayProcess(folder, environ)
    try:
        began = time.monotonic()
        with start_members(gateway, secret, workers, clients) as pipes:
            shares = [len(os.listdir(f"/proc/{pid}/fd")) for pid in gateway.workers()]
            print(f"{workers * clients} members after {time.monotonic() - began:.0f} s; by worker {shares}", flush=True)
            print(f"{until_settled(broker)[1]} bindings", flush=True)
            publish_until_all_receive(broker.url, pipes)
            for pipe in pipes:
                pipe.send("forget")
            broker.restart()
            serves, used = time.monotonic(), cpu(broker.pid)
            # Events published before this reach no client.
            wait_until(lambda: gateway.metric("peatio_ws_broker_connected") == workers, "all are connected", WAIT, 0.1)
            connected, begun = time.monotonic() - serves, cpu(broker.pid)
            print(f"all workers receive {connected:.1f} s after the broker serves", flush=True)
            rounds = publish_until_all_receive(broker.url, pipes)
            back = time.monotonic() - serves
            print(
                f"all members got an event after {back:.1f} s, in {rounds} rounds of {RATE} events a second", flush=True
            )
            idle_at, count = until_settled(broker)
            print(
                f"RabbitMQ was busy until {idle_at - serves:.0f} s after it served; CPU {begun - used:.0f} s until all "
                f"workers received, and {cpu(broker.pid) - begun:.0f} s since; {count} bindings",
                flush=True,
            )
            for pipe in pipes:
                pipe.send("forget")
            publish_until_all_receive(broker.url, pipes)
            assert not gateway.tracebacks(), gateway.tracebacks()
            return back
    finally:
        gateway.stop()


# ---- streams


class Trades(threading.Thread):
    """Publishes a trade every 20 ms, also after a lost connection."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self._url, self.over = url, threading.Event()
        self.start()

    def run(self) -> None:
        while not self.over.is_set():
            with contextlib.suppress(Exception), Publisher(self._url, confirm=False) as publisher:
                while not self.over.wait(0.02):
                    publisher.event("public.btcusd.trades", {"at": time.monotonic()})


class Honest(threading.Thread):
    """A client of one stream. Records when each trade was published and when it arrived."""

    def __init__(self, gateway: GatewayProcess) -> None:
        super().__init__(daemon=True)
        self._client = RawClient(gateway.port).upgrade("/public?stream=btcusd.trades")
        self.got: list[tuple[float, float]] = []
        self.start()

    def run(self) -> None:
        with contextlib.suppress(OSError, AssertionError):
            while True:
                message = self._client.json()
                if "btcusd.trades" in message:
                    self.got.append((message["btcusd.trades"]["at"], time.monotonic()))

    def close(self) -> None:
        self._client.finish()
        self.join(10)
        self._client.drop()

    def gets(self, published_since: float) -> float:
        """Wait for a trade that was published after this moment. Return its latency."""

        def come() -> list[float]:
            return [came - published_since for at, came in self.got[-1000:] if at > published_since]

        wait_until(lambda: bool(come()), "a trade comes", WAIT)
        return come()[0]

    def longest_silence(self, since: float) -> float:
        came = [moment for _, moment in self.got if moment > since]
        return max((later - earlier for earlier, later in itertools.pairwise(came)), default=0.0)


@contextlib.contextmanager
def trades_of_one_client(folder: Path, broker: RabbitMQ) -> Iterator[tuple[GatewayProcess, Honest]]:
    environ = {"AMQP_URL": broker.url, "WEBSOCKET_BOOKS": "ob", "LOG_LEVEL": "info", **Signer("ES256").environ}
    gateway = GatewayProcess(folder, environ)
    trades = Trades(broker.url)
    honest = Honest(gateway)
    try:
        honest.gets(time.monotonic())
        yield gateway, honest
        assert not gateway.tracebacks(), gateway.tracebacks()
    finally:
        trades.over.set()
        trades.join(10)
        honest.close()
        gateway.stop()


def streams(folder: Path, broker: RabbitMQ, clients: int, names: int) -> float:
    """Run `WEBSOCKET_BOOKS=ob` with clients of unused names. Return the longest silence for an honest client."""
    with trades_of_one_client(folder, broker) as (gateway, honest), contextlib.ExitStack() as stack:
        began, used, crowd = time.monotonic(), cpu(broker.pid), []
        for number in range(clients):
            client = stack.enter_context(RawClient(gateway.port)).upgrade("/public")
            wanted = [f"m{number}x{index}.trades" for index in range(names)]
            client.send(text({"event": "subscribe", "streams": wanted}))
            crowd.append(client)
        for client in crowd:
            client.json()
            assert len(client.json()["success"]["streams"]) == names
        seconds = time.monotonic() - began
        silence, used = honest.longest_silence(began), cpu(broker.pid) - used
        print(
            f"{clients} clients with {names} names each after {seconds:.0f} s: RabbitMQ {used / seconds:.0%} of a "
            f"core, {routes(broker)} bindings, longest silence {silence:.2f} s",
            flush=True,
        )
        honest.gets(time.monotonic())
        before = time.monotonic()
        broker.ctl("close_all_connections", "test")
        closed, used = time.monotonic(), cpu(broker.pid)
        heard = honest.gets(closed)
        time.sleep(20)
        silence = honest.longest_silence(before)
        print(f"a trade came {heard:.2f} s after all connections were closed; longest silence {silence:.2f} s")
        print(f"RabbitMQ in the 20 s after that: {(cpu(broker.pid) - used) / (heard + 20):.0%} of a core")
        return silence


def churn(folder: Path, broker: RabbitMQ, clients: int, seconds: float) -> float:
    """Run clients that subscribe and unsubscribe up to the limit. Return the longest silence for an honest client."""
    over, counts = threading.Event(), [0] * clients

    def come_and_go(number: int, client: RawClient) -> None:
        for count in itertools.count():
            for event in ("subscribe", "unsubscribe"):
                client.send(text({"event": event, "streams": [f"c{number}x{count}x{one}.trades" for one in range(10)]}))
                client.json()
                if over.is_set():
                    return
                counts[number] += 1
                over.wait(0.1)  # WEBSOCKET_MESSAGE_RATE

    with trades_of_one_client(folder, broker) as (gateway, honest), contextlib.ExitStack() as stack:
        threads = []
        for number in range(clients):
            client = stack.enter_context(RawClient(gateway.port)).upgrade("/public")
            client.json()
            threads.append(threading.Thread(target=come_and_go, args=(number, client), daemon=True))
        quiet = cpu(broker.pid)
        time.sleep(5)
        quiet = (cpu(broker.pid) - quiet) / 5
        began, used = time.monotonic(), cpu(broker.pid)
        for thread in threads:
            thread.start()
        time.sleep(seconds)
        over.set()
        used = (cpu(broker.pid) - used) / (time.monotonic() - began)
        silence = honest.longest_silence(began)
        for thread in threads:
            thread.join(10)
        print(
            f"{clients} clients said {sum(counts)} times that they want, or do not want, 10 streams, in {seconds:g} s: "
            f"RabbitMQ {used:.0%} of a core ({quiet:.0%} before), longest silence {silence:.2f} s"
        )
        return silence


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("crowd", choices=("members", "streams", "churn"))
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--clients", type=int)
    parser.add_argument("--names", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=20)
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    crowds: dict[str, Callable[[Path, RabbitMQ], float]] = {
        "members": lambda folder, broker: members(folder, broker, options.workers, options.clients or 10_000),
        "streams": lambda folder, broker: streams(folder, broker, options.clients or 300, options.names),
        "churn": lambda folder, broker: churn(folder, broker, options.clients or 40, options.seconds),
    }
    with scratch() as folder:
        broker = RabbitMQ(folder / "rabbitmq")
        try:
            seconds = crowds[options.crowd](folder, broker)
        finally:
            broker.close()
    return 0 if seconds < LIMITS.get(options.crowd, LIMITS["streams"]) else 1


if __name__ == "__main__":
    sys.exit(main())
