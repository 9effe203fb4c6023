"""The classic protocol end to end: gunicorn, RabbitMQ, messages in Peatio's format, real clients."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.gateway import WAIT, GatewayProcess, Publisher, Signer, authenticate, receive, resume
from tests.support.servers import Redis, wait_until

ORDER = {
    "id": 12345678901234567,
    "side": "sell",
    "ord_type": "limit",
    "price": "9120.5",
    "avg_price": "0.0",
    "state": "wait",
    "market_id": "btcusd",
    "created_at": "2018-08-01T10:00:00Z",
    "origin_volume": "1.5",
    "trades_count": 0,
    "trades": [],
}
TRADE = {
    "id": 501,
    "price": "9100.0",
    "volume": "0.5",
    "funds": "4550.0",
    "market_id": "btcusd",
    "ask_id": 31,
    "bid_id": 32,
}


@pytest.mark.parametrize("workers", ["1", "3"])
def test_trade_is_sent_to_its_two_members_only(
    start: Callable[..., GatewayProcess], signer: Signer, publisher: Publisher, workers: str
) -> None:
    gateway = start(WEB_CONCURRENCY=workers)
    with (
        gateway.member(signer.token("IDANN", member_id=1001)) as ann,
        gateway.member(signer.token("IDBOB", member_id=1002)) as bob,
        gateway.member(signer.token("IDEVE", member_id=1003)) as eve,
    ):
        publisher.trade(TRADE, ask_member_id=1001, bid_member_id=1002)
        publisher.order("IDEVE", 7)
        assert receive(ann)["trade"]["side"] == "ask"
        assert receive(bob)["trade"]["side"] == "bid"
        assert receive(eve)["orderbook"]["id"] == 7, "eve received something before her own order"


def test_numbers_are_passed_on_digit_for_digit(gateway: GatewayProcess, signer: Signer, publisher: Publisher) -> None:
    with gateway.member(signer.token("IDANN")) as ann:
        body = json.dumps({**ORDER, "id": 10**30}).replace('"9120.5"', "1000.0").encode()
        publisher.publish("peatio.orderbook", "fanout", body, headers={"uid": "IDANN"})
        frame = str(ann.recv(timeout=WAIT))
        assert f'"id":{10**30},' in frame
        assert '"price":1000.0,' in frame


def test_trade_from_two_exchanges_is_sent_once(gateway: GatewayProcess, signer: Signer, publisher: Publisher) -> None:
    with gateway.member(signer.token("IDANN", member_id=1001)) as ann:
        publisher.trade(TRADE, ask_member_id=1001, bid_member_id=1002)
        publisher.event("private.IDANN.trade", {"id": 501, "price": "9100.0", "side": "sell", "order_id": 31})
        publisher.event("private.IDANN.trade", {"id": 502, "price": "9100.0", "side": "sell", "order_id": 31})
        assert [receive(ann)["trade"]["id"] for _ in range(2)] == [501, 502]


def test_book_change_without_owner_goes_to_members_if_enabled(
    start: Callable[..., GatewayProcess], signer: Signer, publisher: Publisher
) -> None:
    change = b'{"action":"add","order":{"id":1,"type":"ask","volume":"1.0","price":"9000.0","market":"btcusd"}}'
    gateway = start(ORDERBOOK_BROADCAST="true")
    with gateway.member(signer.token("IDANN")) as ann, gateway.connect() as anonymous:
        receive(anonymous)
        publisher.publish("peatio.orderbook", "fanout", change)
        assert ann.recv(timeout=WAIT) == f'{{"orderbook":{change.decode()}}}'
        authenticate(anonymous, signer.token("IDBOB"))  # fails if the client received the change instead of the answer


def test_a_member_id_is_looked_up_in_redis(
    start: Callable[..., GatewayProcess], signer: Signer, publisher: Publisher, redis: Redis
) -> None:
    import redis as client

    with client.Redis.from_url(redis.url) as connection:
        connection.hset("peatio:members", "IDANN", 1001)
    gateway = start(REDIS_URL=redis.url)
    with gateway.member(signer.token("IDANN")) as ann:
        publisher.trade(TRADE, ask_member_id=1001, bid_member_id=1002)
        assert receive(ann)["trade"]["order_id"] == 31


def test_newer_token_finds_the_member_id_that_was_missing(
    start: Callable[..., GatewayProcess], signer: Signer, publisher: Publisher, redis: Redis
) -> None:
    import redis as client

    gateway = start(REDIS_URL=redis.url)
    tokens = {"IDCAROL": signer.token("IDCAROL", member_id=1003), "IDDAVE": signer.token("IDDAVE")}
    for uid, newer in tokens.items():
        with gateway.member(signer.token(uid)) as member:
            with client.Redis.from_url(redis.url) as connection:
                connection.hset("peatio:members", "IDDAVE", 1003)
            authenticate(member, newer)
            publisher.trade(TRADE, ask_member_id=1003, bid_member_id=1002)
            assert receive(member)["trade"]["order_id"] == 31


def test_cursor_of_before_a_member_id_was_found_is_incomplete(
    gateway: GatewayProcess, signer: Signer, publisher: Publisher
) -> None:
    with gateway.connect() as ann:
        cursor = resume(ann, signer.token("IDANN"))["cursor"]
        publisher.trade(TRADE, ask_member_id=1001, bid_member_id=1002)
        publisher.order("IDANN", 1)
        assert receive(ann)["orderbook"]["id"] == 1, "the trade is not hers yet"
        for complete in (False, True):
            ann.send(json.dumps({"jwt": "Bearer " + signer.token("IDANN", member_id=1001), "resume": cursor}))
            answer = receive(ann)["resume"]
            assert answer["complete"] is complete
            cursor = answer["cursor"]


def test_known_member_id_is_used_while_redis_is_down(
    start: Callable[..., GatewayProcess], signer: Signer, publisher: Publisher, folder: Path
) -> None:
    import redis as client

    own = Redis(folder / "redis-of-members")
    with client.Redis.from_url(own.url) as connection:
        connection.hset("peatio:members", "IDANN", 1001)
    gateway = start(REDIS_URL=own.url)
    with gateway.member(signer.token("IDANN")):
        own.kill()
    with gateway.member(signer.token("IDANN")) as ann:
        publisher.trade(TRADE, ask_member_id=1001, bid_member_id=1002)
        assert receive(ann)["trade"]["order_id"] == 31


def test_last_state_of_an_order_survives_its_worker(
    start: Callable[..., GatewayProcess], signer: Signer, publisher: Publisher, redis: Redis
) -> None:
    import redis as client

    first = start(REDIS_URL=redis.url)
    publisher.publish("peatio.orderbook", "fanout", {**ORDER, "id": 31}, headers={"uid": "IDANN"})
    for number in range(450):  # order 31 is not on the first page that is read back
        publisher.order("IDBOB", 1000 + number)
    with client.Redis.from_url(redis.url) as connection:
        wait_until(lambda: connection.xlen("peatio_ws:orders") > 450, "the orders in Redis")
    first.kill()
    second = start(REDIS_URL=redis.url)
    with second.member(signer.token("IDANN", member_id=1001)) as ann:
        wait_until(lambda: '"orders loaded"' in second.log(), "the orders are read back")
        publisher.trade(TRADE, ask_uid="IDANN", bid_uid="IDBOB")
        assert receive(ann)["trade"]["ask"] == {**ORDER, "id": 31}


def test_bad_deliveries_are_counted_and_logged_without_body(
    start: Callable[..., GatewayProcess], signer: Signer, publisher: Publisher
) -> None:
    gateway = start()
    with gateway.member(signer.token("IDANN")) as ann:
        publisher.publish("peatio.orderbook", "fanout", b'{"secret-of-ann"', headers={"uid": "IDANN"})
        publisher.publish("peatio.orderbook", "fanout", b'["secret-of-ann"]', headers={"uid": "IDANN"})
        publisher.order("IDANN", 1)
        assert receive(ann)["orderbook"]["id"] == 1
    for reason in ("json", "shape"):
        name = f'peatio_ws_deliveries_total{{exchange="peatio.orderbook",outcome="{reason}"}}'
        wait_until(lambda name=name: gateway.metric(name) == 1, name)
    assert "delivery dropped" in gateway.log()
    assert "secret-of-ann" not in gateway.log()
