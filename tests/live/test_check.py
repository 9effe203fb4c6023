"""`check` against real servers: it reports faults with their remedies, ends, and leaves nothing behind."""

from __future__ import annotations

import functools
import os
import resource
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple

import amqp
import pytest
from kombu import Connection
from redis import Redis as RedisClient

from peatio_ws.amqp.history_stream.setup import ARGUMENTS
from peatio_ws.auth import keys
from peatio_ws.auth.revocations import Revocation
from peatio_ws.cluster import stored_revocations
from peatio_ws.cluster.redis_keys import REVOCATIONS_KEY, VERSION_KEY
from tests.live.test_published_keys import Issued, members
from tests.support import fork_server
from tests.support.gateway import ROOT, GatewayProcess, Signer
from tests.support.issuer import issuing
from tests.support.old_redis import OldRedis
from tests.support.servers import RabbitMQ, Redis, free_port

SECONDS = 120.0
"""Time limit of a check on a busy machine; the slowest takes 12."""


class Checked(NamedTuple):
    """The result of a check.

    Attributes:
        rows: mark, text and remedy of each line, by what was checked.
    """

    status: int
    output: str
    rows: dict[str, list[tuple[str, str, str]]]

    def wrong(self) -> list[str]:
        return [what for what, rows in self.rows.items() for row in rows if row[0] == "WRONG"]

    def remedied(self, what: str) -> tuple[str, str]:
        """Return text and remedy of the only row that is wrong."""
        assert self.wrong() == [what], self.output
        (row,) = (row for row in self.rows[what] if row[0] == "WRONG")
        assert self.status == 1
        assert row[2], "the row has no remedy"
        return row[1:]


def check(*words: str, open_files: tuple[int, int] | None = None, **environ: str) -> Checked:
    """Run `check` with these variables on free ports. All other settings have their defaults.

    Args:
        open_files: its soft and hard limit; None for those of the tests.
    """
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "WEBSOCKET_HOST": "127.0.0.1",
        "WEBSOCKET_PORT": str(free_port()),
        "METRICS_PORT": str(free_port()),
        "WEBSOCKET_MAX_CONNECTIONS": "500",
        **environ,
    }
    if open_files is None:
        ended = fork_server.shared("command").run(["peatio_ws", "check", *words], environment, SECONDS)
    else:
        limit = functools.partial(resource.setrlimit, resource.RLIMIT_NOFILE, open_files)
        command = [sys.executable, "-m", "peatio_ws", "check", *words]
        ended = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=SECONDS, preexec_fn=limit
        )
    assert ended.stderr == ""
    rows: dict[str, list[tuple[str, str, str]]] = {}
    *lines, _, verdict = ended.stdout.splitlines()
    for line in lines:
        mark, what, text = line[:5].strip(), line[7:36].strip(), line[38:]
        if what:
            rows.setdefault(what, []).append((mark, text, ""))
            last = what
        else:
            rows[last][-1] = (*rows[last][-1][:2], text.removeprefix("-> "))
    found = Checked(ended.returncode, ended.stdout, rows)
    assert (verdict == "all is well") == (found.status == 0) == (not found.wrong()), ended.stdout
    return found


@contextmanager
def link(url: str) -> Iterator[amqp.Channel]:
    with Connection(url) as connection:
        yield connection.default_channel


@pytest.fixture
def vhost(broker: RabbitMQ) -> Iterator[str]:
    """The URL of a new virtual host."""
    name = uuid.uuid4().hex
    broker.ctl("add_vhost", name)
    broker.ctl("set_permissions", "-p", name, "guest", ".*", ".*", ".*")
    yield f"{broker.url.rpartition('//')[0]}/{name}"
    broker.ctl("delete_vhost", name)


def contents(broker: RabbitMQ, url: str) -> tuple[list[str], list[str]]:
    """Return exchanges and queues of a virtual host."""
    name = url.rpartition("/")[2]
    return (
        sorted(broker.ctl("list_exchanges", "-p", name, "name", "type", "durable").splitlines()),
        sorted(broker.ctl("list_queues", "-p", name, "name").splitlines()),
    )


# ---- checks that pass


def test_check_before_the_first_start_passes_and_changes_nothing(
    broker: RabbitMQ, redis: Redis, signer: Signer, vhost: str
) -> None:
    before = contents(broker, vhost)
    found = check("--token", signer.token("ID1", member_id=7), **signer.environ, AMQP_URL=vhost, REDIS_URL=redis.url)
    assert found.status == 0, found.output
    assert contents(broker, vhost) == before
    assert list(found.rows) == [
        "settings",
        "broker",
        "exchange peatio.orderbook",
        "exchange peatio.trade",
        "exchange peatio.events.ranger",
        "queues",
        "publishing",
        "history peatio_ws.history",
        "redis",
        "clock",
        "key",
        "token",
        "port",
        "open files",
        "metrics",
    ]
    assert "RabbitMQ 3." in found.rows["broker"][0][1]
    assert "does not exist yet; the gateway will make it" in found.rows["exchange peatio.trade"][0][1]
    assert "an RSA key of 2048 bits" in found.rows["key"][0][1]
    assert "is valid for uid ID1, member id 7" in found.rows["token"][0][1]


def test_check_passes_while_a_gateway_runs(broker: RabbitMQ, gateway: GatewayProcess) -> None:
    ours = {name: value for name, value in gateway.environ.items() if name not in os.environ or name == "PYTHONPATH"}
    before = contents(broker, "/")
    found = check(**{**ours, "WEBSOCKET_MAX_CONNECTIONS": "500"})
    assert found.status == 0, found.output
    assert found.rows["port"][0][1] == "a gateway is serving here already"
    assert found.rows["exchange peatio.trade"][0][1] == "headers, not durable"
    assert "right arguments" in found.rows["history peatio_ws.history"][0][1]
    assert contents(broker, "/") == before


def test_check_of_a_busy_stream_prints_only_its_report(signer: Signer, vhost: str) -> None:
    over = threading.Event()

    def publish() -> int:
        published = 0
        with link(vhost) as channel:
            while not over.wait(0.0002):
                channel.basic_publish(amqp.Message(b"event"), "", "peatio_ws.history")
                published += 1
        return published

    with link(vhost) as channel:
        channel.queue_declare("peatio_ws.history", durable=True, auto_delete=False, arguments=dict(ARGUMENTS))
    with ThreadPoolExecutor(1) as pool:
        publishing = pool.submit(publish)
        try:
            found = check(**signer.environ, AMQP_URL=vhost)  # expects nothing on standard error
        finally:
            over.set()
    assert found.status == 0, found.output
    assert publishing.result() > 0


def test_port_of_another_program_is_reported_although_a_gateway_runs(gateway: GatewayProcess) -> None:
    """The gateway of `METRICS_PORT` serves another port."""
    ours = {name: value for name, value in gateway.environ.items() if name not in os.environ or name == "PYTHONPATH"}
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        found = check(**{**ours, "WEBSOCKET_PORT": "", "RANGER_PORT": port, "WEBSOCKET_MAX_CONNECTIONS": "500"})
    assert found.wrong() == ["port", "port"], found.output
    _, text, remedy = found.rows["port"][0]
    assert text == f"WEBSOCKET_HOST=127.0.0.1 RANGER_PORT={port}: cannot listen there: Address already in use"
    assert "Rango or another gateway" in remedy
    assert "set RANGER_PORT to another port" in remedy


# ---- RabbitMQ


def test_broker_that_is_down_is_reported(signer: Signer) -> None:
    port = free_port()
    text, remedy = check(**signer.environ, AMQP_URL=f"amqp://guest:sesame@127.0.0.1:{port}/").remedied("broker")
    assert text == f"127.0.0.1:{port}: nothing listens there"
    assert "start it" in remedy


def test_each_of_several_brokers_is_tried(signer: Signer, broker: RabbitMQ) -> None:
    down = f"amqp://guest:guest@127.0.0.1:{free_port()}/"
    found = check(**signer.environ, AMQP_URL=f"{broker.url};{down}")
    assert found.wrong() == ["broker 2"]
    assert found.rows["broker"][0][0] == "ok"


def test_unknown_host_is_reported(signer: Signer) -> None:
    text, _ = check(**signer.environ, RABBITMQ_HOST="there-is-none.invalid").remedied("broker")
    assert text == "there-is-none.invalid:5672: the name of its host cannot be resolved"


def test_wrong_password_is_reported_but_not_shown(signer: Signer, broker: RabbitMQ) -> None:
    found = check(**signer.environ, AMQP_URL=f"amqp://guest:sesame@127.0.0.1:{broker.port}//")
    text, remedy = found.remedied("broker")
    assert "refuses the login of 'guest': wrong user or password" in text
    assert "rabbitmqctl authenticate_user guest PASSWORD" in remedy
    assert "sesame" not in found.output


def test_encoded_password_is_reported_as_such_but_not_shown(signer: Signer, broker: RabbitMQ) -> None:
    """Rango puts the variable into a URL as it is, so that a password with a slash is `%2F` in its environment."""
    where = {"RABBITMQ_HOST": "127.0.0.1", "RABBITMQ_PORT": str(broker.port), "RABBITMQ_PASSWORD": "ses%2Fame"}
    found = check(**signer.environ, **where)
    _, remedy = found.remedied("broker")
    assert "RABBITMQ_PASSWORD is taken literally" in remedy
    assert "ses%2Fame" not in found.output
    assert "ses/ame" not in found.output


def test_wrong_virtual_host_is_reported(signer: Signer, broker: RabbitMQ) -> None:
    text, remedy = check(**signer.environ, AMQP_URL=f"amqp://guest:guest@127.0.0.1:{broker.port}/nope").remedied(
        "broker"
    )
    assert "refuses 'guest' access to the virtual host 'nope'" in text
    assert "not found" in text  # from the broker's error text
    assert "rabbitmqctl add_vhost nope" in remedy


def test_reported_permissions_are_sufficient_once_granted(
    signer: Signer, broker: RabbitMQ, vhost: str, start: Callable[..., GatewayProcess]
) -> None:
    user, name = f"user-{uuid.uuid4().hex[:8]}", vhost.rpartition("/")[2]
    broker.ctl("add_user", user, "sesame")
    url = f"amqp://{user}:sesame@127.0.0.1:{broker.port}/{name}"
    with link(vhost) as channel:
        channel.exchange_declare("peatio.trade", "headers", durable=False, auto_delete=False)
    text, remedy = check(**signer.environ, AMQP_URL=url).remedied("broker")
    assert f"refuses '{user}' access to the virtual host '{name}'" in text
    broker.ctl("set_permissions", "-p", name, user, "^$", "^$", "^$")
    found = check(**signer.environ, AMQP_URL=url)
    assert found.wrong() == [
        "exchange peatio.orderbook",
        "exchange peatio.trade",
        "exchange peatio.events.ranger",
        "queues",
        "publishing",
        "history peatio_ws.history",
    ], found.output
    (command,) = {row[2] for what in found.wrong() for row in found.rows[what]}
    assert remedy.endswith(command)
    assert command.startswith(f"`rabbitmqctl set_permissions -p {name} {user} ")
    rights = [word.strip("'") for word in command.split("`")[1].split()[-3:]]
    broker.ctl("set_permissions", "-p", name, user, *rights)
    assert check(**signer.environ, AMQP_URL=url).status == 0
    start(AMQP_URL=url)  # returns once the gateway is ready
    broker.ctl("delete_user", user)


def test_exchanges_of_another_type_are_reported(signer: Signer, broker: RabbitMQ, vhost: str) -> None:
    with link(vhost) as channel:
        channel.exchange_declare("peatio.trade", "fanout", durable=False, auto_delete=False)
        channel.exchange_declare("peatio.orderbook", "fanout", durable=True, auto_delete=False)
    before = contents(broker, vhost)
    found = check(**signer.environ, AMQP_URL=vhost)
    assert found.wrong() == ["exchange peatio.orderbook", "exchange peatio.trade"]
    (_, text, remedy), *_ = found.rows["exchange peatio.trade"]
    assert text.startswith("is of another type than headers, or has other properties")
    assert "current is 'fanout'" in text  # from the broker's error text
    assert "rabbitmqadmin delete exchange name=peatio.trade" in remedy
    (_, text, remedy), *_ = found.rows["exchange peatio.orderbook"]
    assert (text, remedy) == (
        "is durable, and AMQP_EXCHANGES_DURABLE is false",
        "set AMQP_EXCHANGES_DURABLE=true",
    )
    assert contents(broker, vhost) == before
    assert check(**signer.environ, AMQP_URL=vhost, AMQP_EXCHANGES_DURABLE="true").wrong() == ["exchange peatio.trade"]
    with link(vhost) as channel:
        channel.exchange_delete("peatio.trade")
        channel.exchange_declare("peatio.trade", "headers", durable=False, auto_delete=False)
    found = check(**signer.environ, AMQP_URL=vhost, AMQP_EXCHANGES_DURABLE="true")
    text, remedy = found.remedied("exchange peatio.trade")
    assert text == "is not durable, and AMQP_EXCHANGES_DURABLE is true"
    assert "AMQP_EXCHANGES_DURABLE=false" in remedy


def test_history_with_other_arguments_is_reported(signer: Signer, broker: RabbitMQ, vhost: str) -> None:
    for arguments in ({}, {**ARGUMENTS, "x-max-age": "2h"}):
        with link(vhost) as channel:
            channel.queue_delete("peatio_ws.history")
            channel.queue_declare("peatio_ws.history", durable=True, auto_delete=False, arguments=dict(arguments))
        text, remedy = check(**signer.environ, AMQP_URL=vhost).remedied("history peatio_ws.history")
        assert "is a queue with other arguments" in text
        assert "rabbitmqctl delete_queue" in remedy
    assert "x-max-age" in text
    assert contents(broker, vhost)[1] == ["name", "peatio_ws.history"]
    assert check(**signer.environ, AMQP_URL=vhost, AMQP_HISTORY_QUEUE="another").status == 0
    assert check(**signer.environ, AMQP_URL=vhost, AMQP_HISTORY="worker").status == 0


def test_frozen_broker_and_redis_do_not_block_the_check(signer: Signer, broker: RabbitMQ, redis: Redis) -> None:
    broker.freeze()
    redis.freeze()
    try:
        found = check(**signer.environ, AMQP_URL=broker.url, REDIS_URL=redis.url)
    finally:  # the check has ended while they were frozen
        redis.thaw()
        broker.thaw()
    assert found.wrong() == ["broker", "redis"]
    for what in ("broker", "redis"):
        assert "does not answer" in found.rows[what][0][1]
        assert "frozen" in found.rows[what][0][2]


def test_port_that_is_not_amqps_is_reported(signer: Signer, broker: RabbitMQ, redis: Redis) -> None:
    text, remedy = check(**signer.environ, AMQP_URL=f"amqps://guest:guest@127.0.0.1:{broker.port}/").remedied("broker")
    assert "does not speak TLS on this port" in text
    assert "amqp://" in remedy
    text, remedy = check(**signer.environ, AMQP_URL=f"amqp://guest:guest@127.0.0.1:{redis.port}/").remedied("broker")
    assert "is that its port" in remedy or "frozen" in remedy


# ---- Redis


def test_redis_that_is_down_or_refuses_the_login_is_reported(signer: Signer, redis: Redis) -> None:
    rest = {**signer.environ, "AMQP_URL": "memory://"}
    port = free_port()
    text, remedy = check(**rest, REDIS_URL=f"redis://127.0.0.1:{port}").remedied("redis")
    assert text == f"127.0.0.1:{port}: nothing listens there"
    assert "REDIS_URL" in remedy
    assert "number" in check(**rest, REDIS_URL=f"redis://127.0.0.1:{redis.port}/99").remedied("redis")[1]
    with RedisClient.from_url(redis.url) as client:
        client.config_set("requirepass", "open")
        try:
            for password in ("", ":sesame@"):
                found = check(**rest, REDIS_URL=f"redis://{password}127.0.0.1:{redis.port}")
                assert "refuses the login" in found.remedied("redis")[0]
                assert "sesame" not in found.output
            assert check(**rest, REDIS_URL=f"redis://:open@127.0.0.1:{redis.port}").status == 0
        finally:
            client.config_set("requirepass", "")


@pytest.mark.parametrize(
    ("option", "value", "code"), [("min-replicas-to-write", 1, "NOREPLICAS"), ("maxmemory", 1, "OOM")]
)
def test_redis_that_refuses_writes_is_reported(
    signer: Signer, redis: Redis, option: str, value: int, code: str
) -> None:
    rest = {**signer.environ, "AMQP_URL": "memory://", "REDIS_URL": redis.url}
    with RedisClient.from_url(redis.url) as client:
        client.config_set(option, value)
        try:
            found = check(**rest)
        finally:
            client.config_set(option, 0)
    assert found.status == 1
    assert f"refuses writes ({code})" in found.output
    assert found.output.count(code) == 1


def test_missing_rights_of_the_redis_user_are_reported(signer: Signer, redis: Redis) -> None:
    rest = {**signer.environ, "AMQP_URL": "memory://"}
    url = f"redis://gateway:open@127.0.0.1:{redis.port}/0"
    with RedisClient.from_url(redis.url) as client:
        client.execute_command("ACL", "SETUSER", "gateway", "on", ">open", "+@all", "~peatio_ws:*")
        try:
            found = check(**rest, REDIS_URL=url)
            assert "refuses reading member ids from peatio:members (NOPERM)" in found.output
            assert "refuses subscribing to the channel peatio_ws:steering (NOPERM)" in found.output
            client.execute_command("ACL", "SETUSER", "gateway", "~peatio:*", "&peatio_ws:*")
            assert check(**rest, REDIS_URL=url).status == 0
        finally:
            client.execute_command("ACL", "DELUSER", "gateway")


@pytest.mark.parametrize(
    ("version", "mark", "text"),
    [("5.0.14", "ok", "Redis 5.0.14"), ("4.0.10", "-", "has no streams"), ("3.2.12", "WRONG", "is Redis 3.2.12")],
)
def test_redis_version_is_reported(signer: Signer, redis: Redis, version: str, mark: str, text: str) -> None:
    with OldRedis(redis.port, version) as old:
        found = check(**signer.environ, AMQP_URL="memory://", REDIS_URL=old.url)
    assert found.status == (1 if mark == "WRONG" else 0), found.output
    assert any(line.startswith(mark) and text in line for line in found.output.splitlines()), found.output
    with RedisClient.from_url(redis.url) as client:
        assert not client.keys("*check*"), "the check left keys behind"


# ---- keys and tokens


def test_all_faults_are_reported_and_the_rest_is_checked(signer: Signer, broker: RabbitMQ) -> None:
    key = keys.public_text(keys.new_private_key("ES256"))
    environ = {"JWT_PUBLIC_KEY": key, "JWT_ALGORITHM": "RS256", "LOG_LEVEL": "loud"}
    found = check("--token", signer.token("ID1"), **environ, AMQP_URL=broker.url)
    assert [row[1] for row in found.rows["settings"]] == [
        "JWT_PUBLIC_KEY is an EC key on secp256r1, which JWT_ALGORITHM=RS256 cannot use",
        "LOG_LEVEL=loud: has to be 'debug', 'info', 'warning' or 'error'",
    ]
    assert "EC P-256 for ES256" in found.rows["settings"][0][2]
    assert found.wrong() == ["settings", "settings"]
    assert found.rows["broker"][0][0] == "ok"
    assert found.rows["keys"] == [("-", "not tried: correct its settings first", "")]


ALONE = {"AMQP_URL": "memory://"}


@pytest.mark.parametrize(
    ("claims", "text", "remedy"),
    [
        ({"exp": int(time.time()) - 7200}, "expired (", "use a new one"),
        ({"iat": int(time.time()) + 7200}, "issued in the future", "NTP"),
        (
            {"aud": ["barong"]},
            "audience does not match JWT_AUDIENCE (it is ['barong'], JWT_AUDIENCE is peatio)",
            "JWT_AUDIENCE",
        ),
        ({"iss": "mallory"}, "issuer does not match JWT_ISSUER (it is mallory, JWT_ISSUER is barong)", "JWT_ISSUER"),
        ({"sub": "api_key"}, "subject is not session (it is api_key)", "session token"),
        ({"state": "banned"}, "state is not active (it is banned)", "not active"),
        ({"jti": " "}, "jti is blank or not a text", "peatio-ws token"),
    ],
)
def test_refusal_of_a_token_is_explained(signer: Signer, claims: dict[str, object], text: str, remedy: str) -> None:
    token = signer.token("ID1", **claims)
    found = check("--token", f"Bearer {token}", **signer.environ, **ALONE)
    said, advice = found.remedied("token")
    assert said.startswith(f"is refused: {text}")
    assert remedy in advice
    assert not [part for part in token.split(".") if part in found.output]


def test_invalid_tokens_are_explained(signer: Signer) -> None:
    for token, text, remedy in (
        (Signer().token("ID1"), "signature does not match the key (another key signed it", "public key"),
        (
            Signer("ES256").token("ID1"),
            "algorithm is not JWT_ALGORITHM (it is ES256, JWT_ALGORITHM is RS256",
            "a matching key",
        ),
        ("nonsense", "malformed", "paste the whole token"),
    ):
        said, advice = check(**signer.environ, **ALONE, JWT=token).remedied("token")
        assert said.startswith(f"is refused: {text}")
        assert remedy in advice


def test_revoked_token_is_reported(signer: Signer, redis: Redis) -> None:
    environ = {**signer.environ, **ALONE, "REDIS_URL": redis.url}
    token = signer.token("IDREVOKED", jti="stolen")
    assert check("--token", token, **environ).status == 0
    revoked = Revocation("IDREVOKED", time.time() + 60, jti="stolen")
    with RedisClient.from_url(redis.url) as client, client.pipeline() as pipe:
        stored_revocations.store(pipe, [revoked], time.time())
        pipe.execute()
    text, remedy = check("--token", token, **environ).remedied("token")
    assert "revoked by an operator" in text
    assert "log in again" in remedy
    assert check("--token", signer.token("IDREVOKED"), **environ).status == 0
    with RedisClient.from_url(redis.url) as client:
        client.delete(REVOCATIONS_KEY, VERSION_KEY)


def test_published_keys_are_listed_with_exposed_private_ones(signer: Signer) -> None:
    ours, other = Issued("ours"), Issued("other")
    with issuing(members(ours)) as issuer:
        environ = {"JWT_JWKS_URL": issuer.url, **ALONE}
        found = check("--token", ours.token("ID1"), **environ)
        assert found.status == 0, found.output
        assert found.rows["key"] == [("ok", f"JWT_JWKS_URL={issuer.url}: 'ours', an RSA key of 2048 bits", "")]
        said, advice = check("--token", other.token("ID1"), **environ).remedied("token")
        assert said == "is refused: kid names an unknown key (its kid is 'other'; the set contains 'ours')"
        assert "publish that key" in advice
        issuer.body = b'{"keys":[{"kty":"oct","kid":"x","k":"c2VzYW1lc2VzYW1l"}]}'
        found = check(**environ)
        assert found.wrong() == ["key", "key"]
        assert "is a shared secret" in found.output
        assert "contains no usable key" in found.output
        issuer.held = True
        found = check(**environ)
        assert "timed out" in found.remedied("key")[0], "the check waited for the answer"
    assert "Connection refused" in check(**environ).remedied("key")[0]


# ---- this machine


def test_port_in_use_is_reported(signer: Signer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        text, remedy = check(**signer.environ, **ALONE, WEBSOCKET_PORT=port).remedied("port")
    assert text == f"WEBSOCKET_HOST=127.0.0.1 WEBSOCKET_PORT={port}: cannot listen there: Address already in use"
    assert "set WEBSOCKET_PORT to another port" in remedy


def test_too_low_limit_of_open_files_is_reported(signer: Signer) -> None:
    text, remedy = check(open_files=(256, 799), **signer.environ, **ALONE).remedied("open files")
    assert "a process may open 799; a worker may need 800" in text
    assert "ulimit -n 800" in remedy


def test_soft_limit_of_open_files_may_be_low(signer: Signer) -> None:
    assert not check(open_files=(256, 800), **signer.environ, **ALONE).wrong()
