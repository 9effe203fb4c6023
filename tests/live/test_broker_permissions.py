"""For each permission that the broker's user lacks, `check` reports it and the broker refuses the gateway.

Also covers other causes that prevent the use of the history stream, on a real broker and through a relay that makes it
look old.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from kombu import Connection

from peatio_ws.amqp.history_stream.setup import ARGUMENTS
from peatio_ws.cli.check import broker_check
from peatio_ws.cli.check.report import Finding
from peatio_ws.config.settings import Settings
from peatio_ws.errors import PublishError
from peatio_ws.protocol.exchanges import EXCHANGES
from peatio_ws.publisher import Publisher
from tests.support.gateway import GatewayProcess, Signer
from tests.support.old_broker import OldBroker
from tests.support.servers import RabbitMQ, wait_until

HISTORY = "peatio_ws.history"
PASSWORD = "sesame"


class Case(NamedTuple):
    """Permissions of a user, and what `check` has to report.

    Attributes:
        rights: patterns of the permissions configure, write and read.
        keys: pattern of the routing keys of `peatio.events.ranger` that the user may bind; None for all.
        wrong: rows that `check` marks as wrong on an empty virtual host, and on one where everything is declared.
        named: the missing permission in the text of such a row.
    """

    rights: tuple[str, str, str]
    keys: str | None
    wrong: tuple[set[str], set[str]]
    named: str


_EXCHANGES = {f"exchange {name}" for name in EXCHANGES}
_STREAM = f"history {HISTORY}"
CONFIGURE, WRITE, READ = "^peatio", r"^(peatio_ws|amq\.default)", "^peatio"
CASES = {
    "all": Case((CONFIGURE, WRITE, READ), None, (set(), set()), ""),
    "configure exchanges": Case(
        ("^peatio_ws", WRITE, READ), None, (_EXCHANGES, _EXCHANGES), "`configure` on the exchange peatio."
    ),
    "configure queues": Case(
        (r"^peatio\.", WRITE, READ), None, ({"queues", _STREAM}, {"queues", _STREAM}), "`configure` on queues peatio_ws"
    ),
    "write to amq.default": Case(
        (CONFIGURE, "^peatio_ws", READ),
        None,
        ({"publishing"}, {"publishing", _STREAM}),
        "`write` on the exchange amq.default",
    ),
    "write to queues": Case(
        (CONFIGURE, r"^amq\.default", READ), None, ({"queues"}, {"queues", _STREAM}), "`write` on queues peatio_ws"
    ),
    "read from exchanges": Case(
        (CONFIGURE, WRITE, "^peatio_ws"), None, ({"queues"}, {"queues", _STREAM}), "`read` on the exchange peatio."
    ),
    "read from queues": Case(
        (CONFIGURE, WRITE, r"^peatio\."), None, ({"queues"}, {"queues", _STREAM}), "`read` on queues peatio_ws"
    ),
    "bind private keys": Case(
        (CONFIGURE, WRITE, READ), r"^(public|global)\.", (set(), {"queues", _STREAM}), "the routing key private.#"
    ),
}


class Place(NamedTuple):
    """A virtual host with a user.

    Attributes:
        url: URL with that user.
        owner: URL with a user that has all permissions.
    """

    url: str
    owner: str

    @property
    def vhost(self) -> str:
        return self.url.rpartition("/")[2]


@pytest.fixture(scope="module")
def places(broker: RabbitMQ) -> Iterator[dict[str, Place]]:
    """For each case an empty virtual host and a user, all created by one command, which takes a second."""
    names = {what: uuid.uuid4().hex for what in CASES}
    lines = []
    for what, case in CASES.items():
        name, by = f'<<"{names[what]}">>', '<<"test">>'
        patterns = ", ".join(f"<<{json.dumps(pattern)}>>" for pattern in case.rights)
        lines += [
            f"rabbit_vhost:add({name}, {by})",
            f"rabbit_auth_backend_internal:add_user({name}, <<{json.dumps(PASSWORD)}>>, {by})",
            f"rabbit_auth_backend_internal:set_permissions({name}, {name}, {patterns}, {by})",
            f'rabbit_auth_backend_internal:set_permissions(<<"guest">>, {name}, <<".*">>, <<".*">>, <<".*">>, {by})',
        ]
        if case.keys is not None:
            lines.append(
                f'rabbit_auth_backend_internal:set_topic_permissions({name}, {name}, <<"peatio.events.ranger">>, '
                f'<<".*">>, <<{json.dumps(case.keys)}>>, {by})'
            )
    broker.ctl("eval", f"{', '.join(lines)}, ok.")
    where = f"127.0.0.1:{broker.port}"
    yield {
        what: Place(f"amqp://{name}:{PASSWORD}@{where}/{name}", f"amqp://guest:guest@{where}/{name}")
        for what, name in names.items()
    }
    ends = [f'rabbit_vhost:delete(<<"{name}">>, <<"test">>)' for name in names.values()]
    broker.ctl("eval", f"{', '.join(ends)}, ok.")


@pytest.fixture(scope="module")
def gateways(places: dict[str, Place], folder_of_module: Path, signer: Signer) -> Iterator[dict[str, GatewayProcess]]:
    """A gateway for each user. All are started at once, without waiting until they are ready."""
    running = {
        what: GatewayProcess(folder_of_module, {"AMQP_URL": place.url, **signer.environ}, wait=False)
        for what, place in places.items()
    }
    yield running
    for gateway in running.values():
        gateway.kill()


@pytest.fixture(scope="module")
def folder_of_module(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gateways")


@pytest.fixture(scope="module")
def before(places: dict[str, Place], signer: Signer) -> dict[str, list[Finding]]:
    """What `check` finds on empty virtual hosts, before any gateway starts."""
    return {what: check(place.url, signer) for what, place in places.items()}


def check(url: str, signer: Signer, **environ: str) -> list[Finding]:
    settings = Settings.from_env({**signer.environ, "AMQP_URL": url, **environ})
    return list(broker_check.broker(url, settings))


def wrong(findings: list[Finding]) -> set[str]:
    assert all(finding.remedy for finding in findings if finding.ok is False)
    return {finding.what for finding in findings if finding.ok is False}


def declare_everything(url: str) -> None:
    """Declare what publishers and a gateway with all permissions declare."""
    with Connection(url) as connection:
        channel = connection.default_channel
        for name, kind in EXCHANGES.items():
            channel.exchange_declare(name, kind, durable=False, auto_delete=False)
        channel.queue_declare(HISTORY, durable=True, auto_delete=False, arguments=dict(ARGUMENTS))


def contents(broker: RabbitMQ, vhost: str) -> list[str]:
    """Return exchanges, queues and bindings of a virtual host, with one command."""
    name = f'<<"{vhost}">>'
    return broker.ctl(
        "eval",
        f"{{[element(4, element(2, X)) || X <- rabbit_exchange:list({name})], "
        f"[{{element(4, amqqueue:get_name(Q)), amqqueue:get_type(Q)}} || Q <- rabbit_amqqueue:list({name})], "
        f"rabbit_binding:list({name})}}.",
    ).splitlines()


@pytest.mark.parametrize("what", CASES)
def test_check_reports_each_missing_permission(
    what: str,
    before: dict[str, list[Finding]],
    gateways: dict[str, GatewayProcess],
    places: dict[str, Place],
    signer: Signer,
) -> None:
    case, place, gateway = CASES[what], places[what], gateways[what]
    assert wrong(before[what]) == case.wrong[0], before[what]
    declare_everything(place.owner)
    after = check(place.url, signer)
    assert wrong(after) == case.wrong[1], after
    assert case.named in "".join(finding.text for finding in after if finding.ok is False)
    if case.wrong[1]:
        wait_until(lambda: "ACCESS_REFUSED" in gateway.log(), "the broker refuses the gateway, too", 60)
    else:
        gateway.wait_ready()
        assert "ACCESS_REFUSED" not in gateway.log()


@pytest.mark.usefixtures("before")
def test_pushing_needs_a_permission_that_check_does_not_test(places: dict[str, Place]) -> None:
    """As docs/rabbitmq.md says: this user's gateway works, and its application cannot push."""
    declare_everything(places["all"].owner)
    with (
        Publisher(places["all"].url) as publisher,
        pytest.raises(PublishError, match=r"ACCESS_REFUSED.* may not write to Peatio's exchanges"),
    ):
        publisher.to_member("IDANN", "order", {})


def test_check_leaves_nothing_behind_and_changes_nothing(broker: RabbitMQ, signer: Signer) -> None:
    name = uuid.uuid4().hex
    broker.ctl("eval", f'rabbit_vhost:add(<<"{name}">>, <<"test">>), {_guest_may_all(name)}.')
    url = f"amqp://guest:guest@127.0.0.1:{broker.port}/{name}"
    empty = contents(broker, name)
    found = check(url, signer)
    assert not wrong(found), found
    assert contents(broker, name) == empty
    declare_everything(url)
    full = contents(broker, name)
    found = check(url, signer)
    assert not wrong(found), found
    assert contents(broker, name) == full
    broker.ctl("delete_vhost", name)


def _guest_may_all(vhost: str) -> str:
    return (
        f'rabbit_auth_backend_internal:set_permissions(<<"guest">>, <<"{vhost}">>, <<".*">>, <<".*">>, <<".*">>, '
        f'<<"test">>)'
    )


# ---- the stream


@pytest.fixture
def vhost(broker: RabbitMQ) -> Iterator[str]:
    """A virtual host in which everything that a gateway needs is declared."""
    name = f"exchange-{uuid.uuid4().hex}"  # "exchange" in the name: error texts may not be searched for that word
    broker.ctl("eval", f'rabbit_vhost:add(<<"{name}">>, <<"test">>), {_guest_may_all(name)}.')
    declare_everything(f"amqp://guest:guest@127.0.0.1:{broker.port}/{name}")
    yield name
    broker.ctl("delete_vhost", name)


def row(findings: list[Finding], what: str) -> Finding:
    (found,) = (finding for finding in findings if finding.what == what)
    return found


def test_stream_with_a_silent_leader_is_reported(broker: RabbitMQ, vhost: str, signer: Signer) -> None:
    def leader(how: str) -> None:
        queue = f'rabbit_misc:r(<<"{vhost}">>, queue, <<"{HISTORY}">>)'
        broker.ctl(
            "eval",
            f"{{ok, Q}} = rabbit_amqqueue:lookup({queue}), #{{leader_pid := P}} = amqqueue:get_type_state(Q), "
            f"sys:{how}(P).",
        )

    leader("suspend")
    try:
        found = check(f"amqp://guest:guest@127.0.0.1:{broker.port}/{vhost}", signer)
    finally:
        leader("resume")
    assert wrong(found) == {_STREAM}, found
    assert "(no answer within" in row(found, _STREAM).text
    assert "stream_status" in row(found, _STREAM).remedy


def test_broker_alarm_is_reported(broker: RabbitMQ, vhost: str, signer: Signer) -> None:
    broker.ctl("set_vm_memory_high_watermark", "absolute", "1MB")
    try:
        found = check(f"amqp://guest:guest@127.0.0.1:{broker.port}/{vhost}", signer)
    finally:
        broker.ctl("set_vm_memory_high_watermark", "absolute", "2GB")
    assert wrong(found) == {"publishing", _STREAM}, found
    for what in ("publishing", _STREAM):
        assert "low on memory or disk" in row(found, what).text
        assert "rabbitmq-diagnostics alarms" in row(found, what).remedy


@pytest.mark.parametrize("version", ["3.7.28", "3.8.34"])
def test_check_declares_no_stream_on_an_old_broker(broker: RabbitMQ, vhost: str, signer: Signer, version: str) -> None:
    with OldBroker(broker.port, version) as old:
        url = old.url.removesuffix("/") + vhost
        found = check(url, signer, AMQP_HISTORY_QUEUE="another")
        assert not wrong(found), found
        assert row(found, "history another").ok is None
        assert f"RabbitMQ {version} has no streams" in row(found, "history another").text
        left_behind = row(check(url, signer), _STREAM)
        assert left_behind.ok is False
        assert left_behind.remedy == f"`rabbitmqctl delete_queue -p {vhost} {HISTORY}`"
        assert not [name for name, arguments in old.declared if "x-queue-type" in arguments]


def test_old_broker_is_reported_with_its_version(broker: RabbitMQ, vhost: str, signer: Signer) -> None:
    with OldBroker(broker.port, "3.7.6") as old:
        found = row(check(old.url.removesuffix("/") + vhost, signer), "broker")
    assert "RabbitMQ 3.7.6" in found.text
    assert "a heartbeat every 10 s" in found.text
