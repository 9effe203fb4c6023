"""Private events that the gateway does not interpret."""

from __future__ import annotations

from peatio_ws.protocol.deliveries import read
from peatio_ws.protocol.encoding import Dialect
from peatio_ws.protocol.private_events.member_event import MemberEvent
from tests.unit.samples import on_ranger


def test_ranger_clients_receive_the_body_byte_for_byte() -> None:
    body = b'{ "n":1000.0 ,"a":[1e5]}'
    event = read(on_ranger("private.A.deposit_address", body))
    assert isinstance(event, MemberEvent)
    assert (event.owners, event.orders, event.key, event.state_of) == (("A",), (), None, None)
    assert event.encode(Dialect.RANGER, (), lambda _number, _owner: None) == b'{"deposit_address":%b}' % body
