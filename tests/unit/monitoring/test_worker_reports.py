"""Reports of workers of another version."""

from __future__ import annotations

from peatio_ws.cluster import commands
from peatio_ws.monitoring.worker_reports import MemberConnection, WorkerLoad

PLACE = b'"place":{"host":"h","gateway":"h:1","worker":1},"connections":1'


def test_status_of_an_earlier_version_has_no_load() -> None:
    status = b'{"version":"0.1","since":1.0,"connections":2,"members":1,"problems":[],"lag":0.5}'
    answer = commands.read_answer(b"{%b,%b}" % (PLACE, b'"status":' + status))
    assert answer is not None
    assert answer.status is not None
    assert (answer.status.connections, answer.status.load) == (2, WorkerLoad())


def test_connection_of_an_earlier_version_has_no_streams() -> None:
    answer = commands.read_answer(b"{%b,%b}" % (PLACE, b'"members":[["A","c","ranger","::1",1.5]]'))
    assert answer is not None
    assert answer.members == [MemberConnection("A", "c", "ranger", "::1", 1.5, 0, [])]
