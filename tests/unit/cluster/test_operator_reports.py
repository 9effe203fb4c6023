"""What an operator's commands report as JSON."""

from __future__ import annotations

from peatio_ws.auth.revocations import Revocation
from peatio_ws.cluster import operator_reports
from peatio_ws.cluster.commands import Answer, WorkerId
from peatio_ws.cluster.operator import CommandResult
from peatio_ws.monitoring.worker_reports import ClosedConnection, MemberConnection, Refusal, WorkerLoad, WorkerStatus

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


def test_worker_has_its_load() -> None:
    load = WorkerLoad(100, 0.5, 40_000_000, 0.02, 0.0, 12, 1, 5, 7, False)
    status = WorkerStatus("1.2", 0.0, 5, 3, [], 0.1, load)
    (gateway,) = operator_reports.gateways(CommandResult(1, [Answer(PLACE, 0, status=status)]))
    (worker,) = gateway["workers"]
    assert {name: worker[name] for name in ("max_connections", "cpu", "memory_bytes", "loop_delay_seconds")} == {
        "max_connections": 100,
        "cpu": 0.5,
        "memory_bytes": 40_000_000,
        "loop_delay_seconds": 0.02,
    }
    assert (worker["waiting_bytes"], worker["slow_clients"]) == (12, 1)
    assert (worker["deliveries"], worker["frames"], worker["redis"]) == (5, 7, False)


def test_ends_of_all_workers_are_newest_first_and_bounded() -> None:
    ends = [
        ClosedConnection(float(at), f"c{at}", 4413, "too slow", "gateway", "203.0.113.7", "classic", "ANN", 1.5)
        for at in range(300)
    ]
    refusal = Refusal(7.0, "c9", "203.0.113.8", "Full.", 503)
    answers = [Answer(PLACE, 0, closes=ends[::2]), Answer(OTHER, 0, closes=ends[1::2], refusals=[refusal])]
    report = operator_reports.closes(CommandResult(2, answers))
    assert [one["connection"] for one in report["closes"]] == [f"c{at}" for at in range(299, 99, -1)]
    assert report["closes"][0] == {
        "at": "1970-01-01T00:04:59Z",
        "connection": "c299",
        "code": 4413,
        "by": "gateway",
        "reason": "too slow",
        "address": "203.0.113.7",
        "protocol": "classic",
        "uid": "ANN",
        "seconds": 1.5,
        "gateway": "web2:8080",
        "worker": 8,
    }
    assert report["refusals"] == [
        {
            "at": "1970-01-01T00:00:07Z",
            "connection": "c9",
            "status": 503,
            "reason": "Full.",
            "address": "203.0.113.8",
            "gateway": "web2:8080",
            "worker": 8,
        }
    ]
