"""What an operator's commands report as JSON."""

from __future__ import annotations

from peatio_ws.auth.revocations import Revocation
from peatio_ws.cluster import operator_reports
from peatio_ws.cluster.commands import Answer, MemberConnection, WorkerId, WorkerStatus
from peatio_ws.cluster.operator import CommandResult

PLACE, OTHER = WorkerId("web1", "web1:8080", 7), WorkerId("web2", "web2:8080", 8)
ANN = MemberConnection("ANN", "c1", "classic", "203.0.113.7", 0.0, 12, ["order"])


def test_time_is_in_utc_to_the_second() -> None:
    assert operator_reports.iso_time(0) == "1970-01-01T00:00:00Z"
    assert operator_reports.iso_time(1_700_000_000.9) == "2023-11-14T22:13:20Z"


def test_connection_has_its_place_and_optionally_its_streams() -> None:
    report = operator_reports.connection(ANN, PLACE, streams=True)
    assert report == {
        "uid": "ANN",
        "connection": "c1",
        "protocol": "classic",
        "address": "203.0.113.7",
        "since": "1970-01-01T00:00:00Z",
        "waiting_bytes": 12,
        "host": "web1",
        "gateway": "web1:8080",
        "worker": 7,
        "streams": ["order"],
    }
    del report["streams"]
    assert operator_reports.connection(ANN, PLACE, streams=False) == report


def test_members_are_counted_over_all_gateways() -> None:
    again = MemberConnection("ANN", "c2", "ranger", "203.0.113.7", 5.0)
    result = CommandResult(2, [Answer(PLACE, 3), Answer(OTHER, 1)], [ANN, again], {"c1": OTHER, "c2": PLACE})
    assert operator_reports.members(result) == [
        {"uid": "ANN", "connections": 2, "since": "1970-01-01T00:00:00Z", "gateways": ["web1:8080", "web2:8080"]}
    ]
    assert operator_reports.anonymous(result) == 2


def test_revocation_of_a_member_has_the_time_of_issue() -> None:
    both = Revocation("ANN", 86_400.0, None, 60.0), Revocation("ANN", 86_400.0, "a", 60.0)
    assert [operator_reports.revocation(one) for one in both] == [
        {"uid": "ANN", "jti": None, "issued_until": "1970-01-01T00:01:00Z", "until": "1970-01-02T00:00:00Z"},
        {"uid": "ANN", "jti": "a", "issued_until": None, "until": "1970-01-02T00:00:00Z"},
    ]


def test_workers_are_grouped_by_gateway() -> None:
    ready, draining = WorkerStatus("1.2", 0.0, 5, 3, [], 0.1), WorkerStatus("1.3", 0.0, 0, 0, ["draining"], 0.0)
    again = WorkerId("web1", "web1:8080", 3)
    answers = [Answer(OTHER, 0, status=ready), Answer(PLACE, 0, status=draining), Answer(again, 0, status=ready)]
    web1, web2 = operator_reports.gateways(CommandResult(4, [*answers, Answer(PLACE, 0)]))
    assert (web1["gateway"], web1["host"], [one["worker"] for one in web1["workers"]]) == ("web1:8080", "web1", [3, 7])
    assert [(one["ready"], one["problems"]) for one in web1["workers"]] == [(True, []), (False, ["draining"])]
    assert [one["version"] for one in web2["workers"]] == ["1.2"]
