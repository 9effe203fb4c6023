"""Operators' commands to running gateways through the real Redis."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis as redis_client
from click.testing import CliRunner, Result
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection

from peatio_ws.cli.main import main
from peatio_ws.cluster.redis_keys import COMMANDS_CHANNEL, REVOCATIONS_KEY
from tests.support.gateway import ROOT, WAIT, GatewayProcess, Publisher, Signer, authenticate, receive
from tests.support.servers import RabbitMQ, Redis, scratch, wait_until

FAILED = {"error": {"message": "Authentication failed."}}


@pytest.fixture(scope="module")
def gateways(folder: Path, broker: RabbitMQ, own_redis: Redis, signer: Signer) -> Iterator[list[GatewayProcess]]:
    """Two gateways, with two workers and one."""
    environ = {"AMQP_URL": broker.url, "REDIS_URL": own_redis.url, **signer.environ, "WEBSOCKET_DRAIN_SECONDS": "0.5"}
    started = [GatewayProcess(folder, {**environ, "WEB_CONCURRENCY": str(count)}, wait=False) for count in (2, 1)]
    for gateway in started:
        gateway.wait_ready()
    yield started
    for gateway in started:
        gateway.stop()


@pytest.fixture
def steer(gateways: list[GatewayProcess], own_redis: Redis) -> Callable[..., Result]:
    """Run an operator's command in this process."""

    def run(*words: str, status: int = 0) -> Result:
        result = CliRunner().invoke(main, list(words), env={"REDIS_URL": own_redis.url})
        assert result.exit_code == status, result.output
        return result

    return run


def close_of(client: ClientConnection) -> tuple[int, str]:
    with pytest.raises(ConnectionClosed) as closed:
        client.recv(timeout=WAIT)
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code, closed.value.rcvd.reason


def is_refused(gateway: GatewayProcess, token: str) -> bool:
    """Return whether a token is refused, both in a message and at the handshake."""
    with gateway.connect() as client:
        receive(client)
        client.send(json.dumps({"jwt": f"Bearer {token}"}))
        by_message = receive(client) == FAILED
    status = 101
    try:
        with gateway.connect("private", additional_headers={"Authorization": f"Bearer {token}"}):
            pass
    except InvalidStatus as refused:
        status = refused.response.status_code
    assert (by_message, status) in ((True, 401), (False, 101))
    return by_message


def is_refused_everywhere(gateways: list[GatewayProcess], token: str) -> bool:
    """Return whether every worker refuses a token; each is asked on its own."""
    for gateway in gateways:
        for worker in gateway.workers():
            with alone(gateway, worker):
                if not is_refused(gateway, token):
                    return False
    return True


@contextlib.contextmanager
def alone(gateway: GatewayProcess, worker: int) -> Iterator[None]:
    """Stop the other workers, so that this one accepts every new connection to the shared port."""
    others = set(gateway.workers()) - {worker}
    try:
        for other in others:
            os.kill(other, signal.SIGSTOP)
        wait_until(lambda: all(is_stopped(other) for other in others), "the other workers are stopped")
        yield
    finally:
        for other in others:
            os.kill(other, signal.SIGCONT)


def is_stopped(process: int) -> bool:
    """Return whether a process is stopped, by its state in proc(5) after the name in parentheses."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def test_who_lists_online_members(steer: Callable[..., Result], gateways: list[GatewayProcess], signer: Signer) -> None:
    ann, bob = signer.token("IDANN"), signer.token("IDBOB")
    with (
        gateways[0].member(ann),
        gateways[1].member(ann),
        gateways[1].connect("private?stream=order", additional_headers={"Authorization": f"Bearer {bob}"}) as ranger,
        gateways[0].connect("public?stream=btcusd.trades") as anonymous,
    ):
        receive(ranger), receive(anonymous)
        shown = steer("who")
        head, *rows = shown.stdout.splitlines()
        assert head.split() == ["MEMBER", "CONNECTIONS", "SINCE", "WHERE"]
        host = os.uname().nodename
        where = sorted(f"{host}:{gateway.port}" for gateway in gateways)
        assert [(row.split()[:2], row.split()[3:]) for row in rows] == [
            (["IDANN", "2"], where),
            (["IDBOB", "1"], [f"{host}:{gateways[1].port}"]),
        ]
        assert "2 members with 3 connections, 1 anonymous; received by 3 workers of 2 gateways" in shown.stderr
        lines = [json.loads(line) for line in steer("who", "IDBOB", "--json").stdout.splitlines()]
        assert [(one["uid"], one["protocol"], one["address"], one["gateway"]) for one in lines] == [
            ("IDBOB", "ranger", "127.0.0.1", f"{host}:{gateways[1].port}")
        ]
        assert lines[0]["worker"] in gateways[1].workers()
        assert "1 connection of IDBOB" in steer("who", "IDBOB").stderr
    assert steer("who", "IDANN").stdout == ""


def test_disconnect_closes_only_the_named_member(
    steer: Callable[..., Result], gateways: list[GatewayProcess], signer: Signer, publisher: Publisher
) -> None:
    token = signer.token("IDANN")
    with gateways[0].member(token) as one, gateways[1].member(token) as two, gateways[0].member(signer.token("B")) as b:
        result = steer("disconnect", "IDANN")
        assert "closed 2 connections of IDANN; received by 3 workers of 2 gateways" in result.stderr
        assert close_of(one) == close_of(two) == (4403, "disconnected by the operator")
        publisher.order("B", 5)
        assert receive(b)["orderbook"]["id"] == 5
        with gateways[0].member(token):
            pass  # without --revoke it may reconnect
    assert "closed 0 connections of IDNOBODY" in steer("disconnect", "IDNOBODY").stderr


def test_revoked_member_stays_disconnected(
    steer: Callable[..., Result], gateways: list[GatewayProcess], signer: Signer, own_redis: Redis
) -> None:
    token = signer.token("IDOUT", iat=int(time.time()) - 5)
    bearer = {"Authorization": f"Bearer {token}"}
    with gateways[0].member(token) as one, gateways[1].connect("private", additional_headers=bearer) as two:
        receive(two)
        result = steer("disconnect", "IDOUT", "--revoke")
        assert "revoked: tokens of IDOUT issued until" in result.stderr
        assert close_of(one)[0] == close_of(two)[0] == 4403
        assert is_refused_everywhere(gateways, token)
    fresh = signer.token("IDOUT", iat=int(time.time()) + 1, jti="fresh")
    wait_until(lambda: time.time() > json.loads(_claims(fresh))["iat"], "the new token's time of issue is reached")
    assert not is_refused(gateways[0], fresh)
    # A worker that starts after the command.
    before = set(gateways[1].workers())
    os.kill(min(before), signal.SIGKILL)
    wait_until(lambda: not before & set(gateways[1].workers()), "the worker is gone")
    gateways[1].wait_ready()
    assert is_refused_everywhere(gateways, token)
    # Redis is down, then starts without its data.
    own_redis.kill()
    assert is_refused_everywhere(gateways, token)
    own_redis.start()
    with redis_client.Redis.from_url(own_redis.url) as connection:
        wait_until(lambda: connection.zcard(REVOCATIONS_KEY) > 0, "the revocation is stored again")
    before = set(gateways[1].workers())
    os.kill(min(before), signal.SIGKILL)
    wait_until(lambda: not before & set(gateways[1].workers()), "the worker is gone")
    gateways[1].wait_ready()
    assert is_refused_everywhere(gateways, token)
    assert not is_refused(gateways[1], fresh)
    reasons = [line["reason"] for line in gateways[0].events() if line["event"] == "token refused"]
    assert set(reasons) == {"revoked by an operator"}
    figure = 'peatio_ws_authentications_total{outcome="revoked"}'
    wait_until(lambda: gateways[0].metric(figure) == len(reasons), "each refusal is counted")


def _claims(token: str) -> bytes:
    import base64

    part = token.split(".")[1]
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def test_single_token_can_be_revoked(
    steer: Callable[..., Result], gateways: list[GatewayProcess], signer: Signer
) -> None:
    stolen, own = signer.token("IDTWO", jti="stolen"), signer.token("IDTWO", jti="own")
    with gateways[0].member(stolen) as thief, gateways[0].member(own) as member:
        result = steer("disconnect", "IDTWO", "--revoke", "--jti", "stolen")
        assert "revoked: the token stolen of IDTWO" in result.stderr
        assert "closed 1 connection of IDTWO" in result.stderr
        assert close_of(thief)[0] == 4403
        authenticate(member, own)
        member.send(json.dumps({"jwt": f"Bearer {stolen}"}))
        assert receive(member) == FAILED
    assert is_refused_everywhere(gateways, stolen)


def test_missed_revocation_is_read_within_a_second(
    gateways: list[GatewayProcess], signer: Signer, own_redis: Redis
) -> None:
    """Only store the revocation, as if its message had been lost."""
    from peatio_ws.auth.revocations import Revocation
    from peatio_ws.cluster import stored_revocations

    def read() -> int:
        return sum(line["event"] == "revocations read" for gateway in gateways for line in gateway.events())

    token, before = signer.token("IDQUIET"), read()
    with gateways[0].member(token) as client, redis_client.Redis.from_url(own_redis.url) as connection:
        now = time.time()
        with connection.pipeline() as pipe:
            stored_revocations.store(pipe, [Revocation("IDQUIET", now + 600, None, now)], now)
            pipe.execute()
        assert close_of(client)[0] == 4403
        wait_until(lambda: read() == before + 3, "every worker has read it")
    assert is_refused_everywhere(gateways, token)


def test_notices_go_to_clients_that_requested_them(
    steer: Callable[..., Result], gateways: list[GatewayProcess], signer: Signer, publisher: Publisher
) -> None:
    text = "Maintenance at 10:00 UTC - keep calm"
    with (
        gateways[0].connect() as ann,
        gateways[1].connect("public?stream=btcusd.trades&notices=1") as public,
        gateways[0].connect("public?stream=btcusd.trades") as plain,
        gateways[0].member(signer.token("IDBOB")) as bob,
    ):
        receive(ann), receive(public), receive(plain)
        ann.send(json.dumps({"jwt": f"Bearer {signer.token('IDANN')}", "notices": True}))
        assert receive(ann) == {"success": {"message": "Authenticated."}}
        assert "sent to 2 connections; received by 3 workers" in steer("notice", text).stderr
        assert receive(ann) == receive(public) == {"notice": {"message": text}}
        assert "sent to 1 connection of IDANN" in steer("notice", "only you", "--uid", "IDANN").stderr
        assert receive(ann) == {"notice": {"message": "only you"}}
        assert "sent to 0 connections of IDBOB" in steer("notice", "only you", "--uid", "IDBOB").stderr
        publisher.event("public.btcusd.trades", {"trades": []})
        publisher.order("IDBOB", 9)
        assert receive(public) == receive(plain) == {"btcusd.trades": {"trades": []}}
        assert receive(bob)["orderbook"]["id"] == 9, "a client without notices received one"


def test_drained_gateway_accepts_clients_again(
    steer: Callable[..., Result], gateways: list[GatewayProcess], signer: Signer
) -> None:
    first, second = gateways
    name = f"{os.uname().nodename}:{first.port}"
    workers = first.workers()
    with first.member(signer.token("IDANN")) as ann, second.member(signer.token("IDBOB")) as bob:
        result = steer("drain", "--host", name)
        assert "draining 1 connection; received by 2 workers of 1 gateway" in result.stderr
        code, reason = close_of(ann)
        assert code == 1012
        assert reason.startswith("restart; retry after ")
        status, body = first.operators("/readyz")
        assert (status, json.loads(body)["problems"]) == (503, ["draining"])
        with pytest.raises(InvalidStatus) as refused, first.connect():
            pass
        assert refused.value.response.status_code == 503
        assert refused.value.response.headers["Retry-After"] == "5"
        assert second.operators("/readyz")[0] == 200
        assert first.workers() == workers, "a worker exited"
        undone = steer("drain", "--host", name, "--undo").stderr
        assert "accepts clients again; received by 2 workers of 1 gateway" in undone
        first.wait_ready()
        with first.member(signer.token("IDANN")):
            pass
        authenticate(bob, signer.token("IDBOB"))
    assert "no gateway is called elsewhere; the gateways are" in steer("drain", "--host", "elsewhere", status=3).stderr


def test_invalid_command_is_harmless(
    steer: Callable[..., Result], gateways: list[GatewayProcess], signer: Signer, own_redis: Redis
) -> None:
    nonsense: list[Any] = [
        b"",
        b"\xff\x00",
        b"{}",
        b'{"do":"disconnect"}',
        b"[" * 100_000,
        b'{"do":"who","question":"x"}',
    ]
    with gateways[0].member(signer.token("IDANN")) as ann, redis_client.Redis.from_url(own_redis.url) as connection:
        for one in nonsense * 20:
            assert connection.publish(COMMANDS_CHANNEL, one) == 3
        connection.zadd(REVOCATIONS_KEY, {b"no revocation": time.time() + 600})
        assert "closed 1 connection" in steer("disconnect", "IDANN").stderr
        assert close_of(ann)[0] == 4403
    for gateway in gateways:
        events = [line["event"] for line in gateway.events() if line["level"] in ("warning", "error", "critical")]
        assert events.count("unreadable message on the channel of operator commands") <= 2 * len(gateway.workers()) + 2
        assert "operator command failed" not in events


def test_silent_worker_is_reported(steer: Callable[..., Result], gateways: list[GatewayProcess]) -> None:
    worker = gateways[0].workers()[0]
    os.kill(worker, signal.SIGSTOP)
    try:
        assert "1 worker did not answer" in steer("who", status=4).stderr
    finally:
        os.kill(worker, signal.SIGCONT)


def test_commands_name_the_missing_setting() -> None:
    def run(**environ: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "peatio_ws", "who"]
        return subprocess.run(
            command, cwd=ROOT, env={"PATH": os.environ["PATH"], **environ}, capture_output=True, text=True, timeout=120
        )

    without = run()
    assert without.returncode == 1
    assert without.stderr.startswith("Error: REDIS_URL is not set")
    assert without.stderr.count("\n") == 1
    unreachable = run(REDIS_URL="redis://:secret@127.0.0.1:1/0")
    assert unreachable.returncode == 1
    assert unreachable.stderr.startswith("Error: Redis at 127.0.0.1:1 (REDIS_URL) did not accept the command")
    assert "secret" not in unreachable.stderr
    with scratch() as path:
        empty = Redis(path)
        no_gateway = run(REDIS_URL=empty.url)
        empty.kill()
    assert no_gateway.returncode == 3
    assert "no gateway received it" in no_gateway.stderr
