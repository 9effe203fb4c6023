"""What went to and fro is told once, whoever comes and goes while it is looked at."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from peatio_ws import metrics
from peatio_ws.dialects import Dialect
from peatio_ws.intake import Intake
from peatio_ws.meter import Meter
from peatio_ws.settings import Settings
from peatio_ws.shared import Shared


def client(sent: int, **streams: None) -> Any:
    outbox = SimpleNamespace(size=0, sent=sent, closing=0)
    session = SimpleNamespace(dialect=Dialect.CLASSIC, identity=None, streams=streams)
    return SimpleNamespace(ws=SimpleNamespace(outbox=outbox, received=1, received_bytes=2), session=session)


def meter() -> Meter:
    intake = Intake(Settings(AMQP_URL=("memory://",)), Shared())
    return Meter(SimpleNamespace(intake=intake, router=intake.router, shared=Shared()))  # type: ignore[arg-type]


def told() -> float:
    return metrics.sent._value.get()


STEPS = st.lists(st.sampled_from(["come", "send", "leave", "look", "round"]), max_size=60)


@given(STEPS)
def test_each_byte_is_told_once_in_the_end_and_never_too_early(steps: list[str]) -> None:
    measured, before = meter(), told()
    there: list[Any] = []
    unseen: list[Any] = []
    sent = 0
    measured.begin()
    for step in steps:
        if step == "come":
            there.append(client(0))
        elif step == "send" and there:
            there[0].ws.outbox.sent += 7
            sent += 7
        elif step == "leave" and there:
            measured.left(there.pop())
        elif step == "look" and unseen:
            measured.look_at(unseen.pop())  # it may have left meanwhile
        elif step == "round":
            for one in unseen:
                measured.look_at(one)
            measured.end()
            assert told() - before <= sent
            measured.begin()
            unseen = list(there)
    for one in there:
        measured.left(one)
    measured.begin()
    measured.end()
    assert told() - before == sent


def test_a_connection_is_told_by_how_far_it_is() -> None:
    measured = meter()
    measured.begin()
    gone, member = client(1), client(1)
    gone.ws.outbox.closing, member.session.identity = 1012, object()
    for one in (client(1), client(1, **{"a.trades": None}), member, gone, gone):
        measured.look_at(one)
    measured.end()
    counts = {state: metrics.connections.labels("classic", state)._value.get() for state in ("new", "public", "member")}
    assert counts == {"new": 1, "public": 1, "member": 1}
    assert metrics.connections.labels("classic", "closing")._value.get() == 2
    assert metrics.rango_clients._value.get() == 5
