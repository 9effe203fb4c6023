"""What the reader of deliveries ensures for every kind of private event."""

from __future__ import annotations

import msgspec
import pytest

from peatio_ws.errors import BadDelivery
from peatio_ws.protocol.deliveries import read
from peatio_ws.protocol.private_events.base import BodyReader
from peatio_ws.protocol.private_events.kinds import PRIVATE_EVENTS
from peatio_ws.protocol.private_events.member_event import MemberEvent
from tests.unit.samples import on_ranger


@pytest.mark.parametrize("body", [b"[1]", b' "text"', b"null", b"7"])
@pytest.mark.parametrize("name", PRIVATE_EVENTS)
def test_bodies_that_are_not_objects_are_passed_on_unchanged(name: str, body: bytes) -> None:
    assert read(on_ranger(f"private.A.{name}", body)) == MemberEvent(name, body, owners=("A",))


class NoFields(msgspec.Struct):
    """A kind of event that reads no field of its body."""


@pytest.mark.parametrize("body", [b'{"a":}, not json', b'{"a":1', b'{"a":1}}', b'{"a":NaN}', b'{"a":"\xff"}', b"{"])
def test_body_that_is_not_json_reaches_no_kind_of_event(body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    careless = BodyReader(NoFields, lambda uid, body, _: MemberEvent("x", body, owners=(uid,)))
    monkeypatch.setitem(PRIVATE_EVENTS, "careless", careless)
    assert read(on_ranger("private.A.careless", b' {"a": 1}')) == MemberEvent("x", b' {"a": 1}', owners=("A",))
    with pytest.raises(BadDelivery) as caught:
        read(on_ranger("private.A.careless", body))
    assert caught.value.code.value == "json"
