"""docs/asyncapi.yaml: every frame of a contract run, in both directions, matches one of its messages.

So does every frame that the gateway can write; broken frames match none. The frames were recorded by `python -m
tests.programs.contract PATH/check.py --record`. AsyncAPI's own parser checks the document itself (`make docs`).
"""

from __future__ import annotations

import gzip
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

import peatio_ws
from peatio_ws.close_codes import REASONS, Close
from peatio_ws.errors import Refused
from peatio_ws.protocol import encoding
from peatio_ws.protocol.deliveries import read
from peatio_ws.protocol.encoding import Dialect
from peatio_ws.protocol.exchanges import RANGER, Delivery
from peatio_ws.protocol.private_events.base import PrivateEvent
from peatio_ws.protocol.private_events.order import ranger_order
from peatio_ws.protocol.private_events.trade import ranger_trade
from peatio_ws.protocol.session import Session
from peatio_ws.protocol.subscription_rules import SubscriptionRules
from peatio_ws.server.connections import upgrade_request
from tests.programs.contract import RECORDING
from tests.support.asyncapi import DOCUMENT, DOCUMENT_URI, MESSAGES, body, matching, validator
from tests.support.relay import Connection


def recorded() -> list[Connection]:
    lines = gzip.decompress(RECORDING.read_bytes()).decode().splitlines()
    return [Connection(**json.loads(line)) for line in lines]


def channel_of(connection: Connection) -> str:
    path, _, query = connection.path.partition("?")
    environ = {"PATH_INFO": path, "QUERY_STRING": query}
    if connection.authorization:
        environ["HTTP_AUTHORIZATION"] = "Bearer x"
    return upgrade_request.parse_upgrade_request(environ).dialect.value


def frames() -> Iterator[tuple[str, str, Any]]:
    for connection in recorded():
        if connection.status == 101:
            for sender, frame in connection.frames:
                yield channel_of(connection), sender, frame


def test_every_recorded_frame_is_exactly_one_message() -> None:
    found = Counter[tuple[str, str, str]]()
    for channel, sender, frame in frames():
        names = matching(channel, sender, frame)
        assert len(names) == 1, (channel, sender, names, str(frame)[:300])
        found[channel, sender, names[0]] += 1
    # A run with few kinds of frames would prove little.
    assert sum(found.values()) > 1_200
    for channel, names in {
        "classic": "challenge authenticated authenticationFailed noBearer notUnderstood orderbook trade subscribed "
        "close",
        "ranger": "subscribed unsubscribed order trade publicEvent book bookIncrement pong noStreams streamsNotTexts "
        "unknownEvent couldNotParse cannotSubscribe authenticated",
    }.items():
        assert not [name for name in names.split() if not found[channel, "server", name]]
    for channel, names in {
        "classic": "token tokenWithoutBearer subscribe otherEvent noObject noJson binary",
        "ranger": "token subscribe unsubscribe withoutStreams streamsNoTexts otherEvent noObject noJson ping",
    }.items():
        assert not [name for name in names.split() if not found[channel, "client", name]]


def test_refused_handshakes_are_documented() -> None:
    refused = {connection.status for connection in recorded()} - {101}
    assert refused == {401, 403}
    named = set(re.findall(r"\b([45]\d\d) \(", DOCUMENT["info"]["description"]))
    assert refused <= {int(status) for status in named}
    for connection in recorded():
        if connection.status == 401 and not connection.authorization:
            with pytest.raises(Refused, match="needs a token"):
                channel_of(connection)


def test_no_token_is_in_the_recording() -> None:
    assert b"eyJ" not in gzip.decompress(RECORDING.read_bytes())


# ---- frames that were not recorded


def test_every_close_code_is_described_with_its_reason() -> None:
    for code in Close:
        frame = {"code": int(code), "reason": REASONS[code]}
        assert matching("classic", "server", frame) == matching("ranger", "server", frame) == ["close"]
    described = {one["properties"]["code"]["const"] for one in DOCUMENT["components"]["schemas"]["Close"]["oneOf"]}
    assert described == {int(code) for code in Close}
    for broken in ({"code": 4000, "reason": ""}, {"code": 1012, "reason": "restart"}, {"code": 1008}):
        assert matching("classic", "server", broken) == []


def text(payload: bytes) -> str:
    return payload.decode()


@pytest.mark.parametrize(
    ("payload", "name"),
    [
        (encoding.TOKEN_EXPIRED, "tokenExpired"),
        (encoding.resume("s.1.00000000", complete=False), "resume"),
        (encoding.resumed(encoding.AUTHENTICATED, "s.1.00000000", complete=True), "authenticated"),
        (encoding.too_many_streams(200), "tooManyStreams"),
        (encoding.cannot_subscribe("…"), "cannotSubscribe"),
        (encoding.notice("Maintenance at 10:00 UTC."), "notice"),
    ],
)
@pytest.mark.parametrize("channel", ["classic", "ranger"])
def test_frames_that_no_contract_case_contains(channel: str, payload: bytes, name: str) -> None:
    assert matching(channel, "server", text(payload)) == [name]


def test_events_with_a_cursor() -> None:
    body = b'{"id":5,"market":"btcusd","side":"buy","price":"1.0","created_at":1533117600}'
    for name in ("order", "trade"):
        event = read(Delivery(RANGER, f"private.ID1.{name}", {}, body))
        assert isinstance(event, PrivateEvent)
        for dialect in Dialect if name == "order" else (Dialect.RANGER,):
            payload = event.encode(dialect, (0,), lambda _number, _owner: None)
            channel, expected = dialect.value, "orderbook" if dialect is Dialect.CLASSIC else name
            assert matching(channel, "server", text(payload)) == [expected]
            assert matching(channel, "server", text(encoding.with_cursor(payload, "s.1.00000000"))) == [expected]
    other = encoding.with_cursor(encoding.stream_event("deposit_address", b"[]"), "s.1.00000000")
    assert matching("ranger", "server", text(other)) == ["privateEvent"]
    assert matching("ranger", "server", '{"a":1,"b":2}') == []


def test_book_change_without_an_owner_is_not_an_order() -> None:
    change = text(encoding.orderbook(b'{"action":"new","order":{"id":1,"price":"2.0"}}'))
    assert matching("classic", "server", change) == ["bookChange"]


def test_ranger_frames_are_described() -> None:
    order = read(Delivery("peatio.orderbook", "", {"uid": "ID1"}, b'{"id":1,"side":"sell","at":1533117600}'))
    trade = read(Delivery("peatio.trade", "", {"ask_uid": "ID1"}, b'{"id":1,"price":"2.0","ask_id":3}'))
    written = {
        "TranslatedOrder": ranger_order(order),  # type: ignore[arg-type]
        "TranslatedTrade": ranger_trade(trade, "ask", b"3"),  # type: ignore[arg-type]
    }
    for name, payload in written.items():
        schema = body(name)
        schema.validate(json.loads(payload))
        for broken in mutations(json.loads(payload)):
            assert not schema.is_valid(broken), broken


# ---- broken frames

WRITTEN_BY_THE_GATEWAY = [
    *"challenge authenticated authenticationFailed noBearer notUnderstood subscribed unsubscribed resume".split(),
    *"noStreams streamsNotTexts unknownEvent couldNotParse cannotSubscribe orderbook book close".split(),
]
"""Messages without publishers' own content; of `orderbook` and `book`, only the outer form."""

OPTIONAL = {"sequence", "remaining_volume", "executed_volume"}


def mutations(value: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Return copies with a missing key, an additional key, or a value of another type, at this level."""
    for name in value:
        if name not in OPTIONAL:
            yield {key: inner for key, inner in value.items() if key != name}
        yield {**value, name: {"other": []}}
    yield {**value, "another": 1}


def broken(frame: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from mutations(frame)
    for name, inner in frame.items():
        if isinstance(inner, dict):
            yield from ({**frame, name: changed} for changed in mutations(inner))


def test_broken_frames_do_not_match_their_message() -> None:
    seen: dict[tuple[str, str], Any] = {}
    for channel, sender, frame in frames():
        if sender == "server" and frame != "pong":
            seen.setdefault((channel, matching(channel, sender, frame)[0]), frame)
    tried = 0
    for (channel, name), frame in seen.items():
        if name not in WRITTEN_BY_THE_GATEWAY and (channel, name) != ("classic", "trade"):
            continue
        value = json.loads(frame) if isinstance(frame, str) else frame
        for changed in broken(value):
            again = json.dumps(changed) if isinstance(frame, str) else changed
            assert name not in matching(channel, "server", again), (name, again)
            tried += 1
    assert tried > 100


@pytest.mark.parametrize(
    ("name", "frame"),
    [
        ("publicEvent", '{"global.tickers@1000ms":{"btcusd":{}}}'),
        ("publicEvent", '{"btcusd.ob-snap@250ms":{"asks":[],"bids":[]}}'),
        ("book", '{"btcusd.ob-snap":{"asks":[["1","2"]],"bids":[],"sequence":7}}'),
        ("bookChanges", '{"btcusd.ob-inc@250ms":{"asks":[["1","2"]],"bids":[],"sequence":7,"previous":5}}'),
        ("bookChanges", '{"btcusd.ob-inc@250ms":{"asks":[["1","2"]],"bids":[]}}'),
        ("bestLevels", '{"btcusd.ob-top@1":{"asks":[["1","2"]],"bids":[],"sequence":7}}'),
        ("bestLevels", '{"btcusd.ob-top@20/5000ms":{"asks":[["1","2"]],"bids":[]}}'),
    ],
)
def test_each_frame_of_a_view_is_exactly_one_message(name: str, frame: str) -> None:
    assert matching("ranger", "server", frame) == [name]


@pytest.mark.parametrize(
    ("channel", "frame"),
    [
        ("classic", "pong"),
        ("ranger", '{"btcusd.ob-inc@300ms":{"asks":[],"bids":[]}}'),
        ("ranger", '{"btcusd.ob-inc@250ms":{"asks":["1","2"],"bids":[]}}'),
        ("ranger", '{"btcusd.ob-inc@250ms":{"asks":[],"bids":[],"previous":5}}'),
        ("ranger", '{"btcusd.ob-top@2":{"asks":[],"bids":[]}}'),
        ("classic", "[]"),
        ("classic", '{"success":{"message":"authenticated."}}'),
        ("classic", '{"error":"Could not parse Type: Invalid event"}'),
        ("ranger", '{"challenge":"' + "x" * 54 + '"}'),
        ("ranger", '{"error":{"message":"Error while handling message."}}'),
        ("ranger", '{"btcusd.ob-snap":{"asks":[["1.0"]],"bids":[]}}'),
        ("ranger", '{"btcusd.ob-inc":{"asks":"15.0"}}'),
        ("ranger", '{"btcusd.trades":{},"ethusd.trades":{}}'),
        ("ranger", '{"admin.eurusd.sys":{}}'),
        ("ranger", '{"order":{},"cursor":7}'),
        ("ranger", "not json"),
    ],
)
def test_frames_that_the_gateway_never_sends(channel: str, frame: str) -> None:
    assert matching(channel, "server", frame) == []


@pytest.mark.parametrize("channel", ["classic", "ranger"])
@pytest.mark.parametrize(
    "sent",
    [
        *(
            '{"jwt":"Bearer x"}',
            '{"jwt":"Basic x"}',
            '{"jwt":7,"event":"subscribe"}',
            '{"event":"subscribe","streams":null}',
        ),
        *(
            '{"event":"subscribe","streams":["a.b"]}',
            '{"event":"unsubscribe","streams":[1]}',
            '{"event":7}',
            "{}",
            "nul",
        ),
    ],
)
def test_every_client_text_is_one_message_with_one_of_its_replies(channel: str, sent: str) -> None:
    names = matching(channel, "client", sent)
    assert len(names) == 1
    session = Session(Dialect(channel), SubscriptionRules())
    actions = session.receive(sent)
    replies = [getattr(action, "payload", encoding.AUTHENTICATED) for action in actions if hasattr(action, "payload")]
    if names == ["token"]:
        replies = [encoding.AUTHENTICATED, encoding.AUTHENTICATION_FAILED]
    operation = next(
        one
        for one in DOCUMENT["operations"].values()
        if {"$ref": f"#/channels/{channel}/messages/{names[0]}"} in one["messages"] and one["action"] == "receive"
    )
    allowed = {reference["$ref"].rpartition("/")[2] for reference in operation["reply"]["messages"]}
    assert replies
    for reply in replies:
        assert set(matching(channel, "server", reply.decode())) <= allowed


def test_each_message_of_a_channel_is_in_one_of_its_operations() -> None:
    for channel, what in DOCUMENT["channels"].items():
        used = MESSAGES[channel, "client"].keys() | MESSAGES[channel, "server"].keys()
        assert used == what["messages"].keys()
        named = {reference["$ref"].rpartition("/")[2] for reference in what["messages"].values()}
        assert named <= DOCUMENT["components"]["messages"].keys()
    everywhere = itertools.chain.from_iterable(one["messages"].values() for one in DOCUMENT["channels"].values())
    assert {one["$ref"].rpartition("/")[2] for one in everywhere} == DOCUMENT["components"]["messages"].keys()


def test_examples_match_their_message() -> None:
    tried = 0
    for name, message in DOCUMENT["components"]["messages"].items():
        schema = validator(f"{DOCUMENT_URI}#/components/messages/{name}/payload")
        for example in message.get("examples", []):
            schema.validate(example["payload"])
            tried += 1
    assert tried > 10


def test_version_is_the_packages() -> None:
    assert DOCUMENT["info"]["version"] == peatio_ws.__version__
