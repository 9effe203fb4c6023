"""Messages of workers for a trace."""

from __future__ import annotations

import msgspec
import pytest

from peatio_ws.cluster.commands import WorkerId
from peatio_ws.cluster.tracing import messages
from peatio_ws.cluster.tracing.messages import LEASE_SECONDS, RENEW_SECONDS, TraceMessage, read_message

PLACE = WorkerId("host", "host:8080", 1)


def test_message_is_read_as_it_was_sent() -> None:
    message = TraceMessage(PLACE, "1f2e", 7, [msgspec.Raw(b'{"kind":"ping"}')], True)
    read = read_message(msgspec.json.encode(message))
    assert read is not None
    assert (read.place, read.run, read.first, read.last) == (PLACE, "1f2e", 7, True)
    assert [bytes(line) for line in read.lines] == [b'{"kind":"ping"}']


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff", b'{"place":1}', b"[" * 10_000])
def test_anything_else_is_no_message(data: bytes) -> None:
    assert read_message(data) is None


def test_line_has_its_kind_and_its_time_first() -> None:
    line = messages.line("ping", 0.1234, by="gateway")
    assert list(line.items()) == [("kind", "ping"), ("at", "1970-01-01T00:00:00.123Z"), ("by", "gateway")]


def test_a_lost_command_does_not_end_a_trace() -> None:
    assert LEASE_SECONDS > 3 * RENEW_SECONDS
