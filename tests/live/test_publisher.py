"""The publisher on the real RabbitMQ: lost connections, unroutable messages and errors."""

from __future__ import annotations

import threading

import pytest

from peatio_ws.errors import PublishError
from peatio_ws.publisher import Publisher
from tests.support.gateway import GatewayProcess, Signer, receive
from tests.support.servers import RabbitMQ


def test_publisher_reconnects_after_its_connection_was_closed(
    gateway: GatewayProcess, broker: RabbitMQ, signer: Signer
) -> None:
    publisher = Publisher(broker.url)
    with gateway.member(signer.token("IDANN")) as ann:
        assert publisher.to_member("IDANN", "order", {"id": 1})
        broker.ctl("close_all_user_connections", "guest", "a test")
        assert publisher.to_member("IDANN", "order", {"id": 2})
        assert [receive(ann)["orderbook"]["id"] for _ in range(2)] == [1, 2]
    publisher.close()
    gateway.wait_ready()  # its connection was closed, too


def test_publisher_reports_an_event_without_a_queue(gateway: GatewayProcess, broker: RabbitMQ) -> None:
    with Publisher(broker.url) as publisher:
        assert publisher.to_stream("btcusd.trades", {}) is True
        assert publisher.to_stream("nobody.hears.this", {}) is False
        assert publisher.sent == publisher.confirmed == 2


def test_exchange_conflicts_and_a_wrong_password_have_remedies(gateway: GatewayProcess, broker: RabbitMQ) -> None:
    with pytest.raises(PublishError, match=r"set AMQP_EXCHANGES_DURABLE \(durable=True in Python\)"):
        Publisher(broker.url, durable=True).to_stream("btcusd.trades", {})
    place = broker.url.rpartition("@")[2]
    with pytest.raises(PublishError, match="user or password is wrong") as error:
        Publisher(f"amqp://guest:a-secret@{place}").to_stream("btcusd.trades", {})
    assert "a-secret" not in str(error.value)


def test_publisher_may_be_shared_by_greenlets(gateway: GatewayProcess, broker: RabbitMQ, signer: Signer) -> None:

    with Publisher(broker.url) as publisher, gateway.member(signer.token("IDANN")) as ann:
        pushes = [("IDANN", "order", {"id": number}) for number in range(20)]
        threads = [threading.Thread(target=publisher.to_member, args=push) for push in pushes]
        for thread in threads:
            thread.start()
        assert {receive(ann)["orderbook"]["id"] for _ in threads} == set(range(20))
        for thread in threads:
            thread.join()
