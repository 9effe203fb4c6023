"""The subscribers of a stream, each once."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from peatio_ws.routing.audience import Audience, add_subscriber, remove_subscriber, subscribers

STEPS = st.lists(st.tuples(st.booleans(), st.sampled_from("ab"), st.integers(0, 3)))


@given(STEPS)
def test_any_steps_leave_whom_a_set_would_have(steps: list[tuple[bool, str, int]]) -> None:
    outboxes: list[Any] = [object() for _ in range(4)]
    audiences: dict[str, Audience] = {}
    model: dict[str, set[Any]] = {"a": set(), "b": set()}
    for adds, name, number in steps:
        outbox, held = outboxes[number], model[name]
        if adds:
            assert add_subscriber(audiences, name, outbox) is (outbox not in held)
            held.add(outbox)
        else:
            assert remove_subscriber(audiences, name, outbox) is (outbox in held)
            held.discard(outbox)
        assert set(subscribers(audiences.get(name))) == held
        assert len(subscribers(audiences.get(name))) == len(held)
        assert set(audiences) == {name for name in model if model[name]}


def test_one_subscriber_needs_no_dictionary() -> None:
    audiences: dict[str, Audience] = {}
    outbox: Any = object()
    add_subscriber(audiences, "a.b", outbox)
    assert audiences == {"a.b": outbox}
