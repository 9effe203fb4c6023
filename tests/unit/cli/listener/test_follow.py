"""`--follow`: pauses, limits, and when it gives up."""

from __future__ import annotations

from peatio_ws.cli.listener.client import CLOSED, ENOUGH, NOT_AUTHENTICATED, ListenResult, ListenTarget
from peatio_ws.cli.listener.follow import PAUSES, follow


class Connections:
    """Connections that end as given, and the pauses before each but the first."""

    def __init__(self, *ends: ListenResult) -> None:
        self.ends, self.pauses, self.said = list(ends), list[float](), list[str]()
        self.targets = list[ListenTarget]()

    def run(self, target: ListenTarget) -> ListenResult:
        self.targets.append(target)
        return self.ends.pop(0)

    def follow(self, **limits: float | None) -> ListenResult:
        target = ListenTarget("ws://host/", **limits)  # type: ignore[arg-type]
        return follow(target, self.run, self.said.append, self.pauses.append)


def lost(events: int = 0, again: float = 0) -> ListenResult:
    return ListenResult(CLOSED, "closed", events, again)


def test_pauses_grow_and_begin_again_after_an_event() -> None:
    there = Connections(lost(), lost(), lost(), lost(), lost(1), lost(), ListenResult(NOT_AUTHENTICATED, "no"))
    assert there.follow() == ListenResult(NOT_AUTHENTICATED, "no")
    first = PAUSES[0]
    for pause, longest in zip(there.pauses, (1, 2, 4, 8, 1, 2), strict=True):
        assert longest * first / 2 <= pause <= longest * first
    assert len(there.said) == 6


def test_time_that_the_gateway_names_is_kept() -> None:
    there = Connections(lost(again=20), ListenResult(ENOUGH))
    there.follow()
    assert there.pauses == [20]
    assert there.said == ["closed; connecting again in 20 s"]


def test_it_resumes_from_the_last_cursor() -> None:
    there = Connections(lost(), lost()._replace(cursor="c1"), lost(), ListenResult(ENOUGH))
    there.follow()
    assert [target.resume for target in there.targets] == ["1", "1", "c1", "c1"]


def test_count_covers_all_connections() -> None:
    there = Connections(lost(2), lost(3), ListenResult(ENOUGH))
    assert there.follow(count=9).status == ENOUGH
    assert [target.count for target in there.targets] == [9, 7, 4]


def test_time_limit_covers_all_connections_and_pauses() -> None:
    there = Connections(lost(again=60), ListenResult(ENOUGH))
    there.follow(seconds=5)
    (pause,) = there.pauses
    assert pause <= 5
    assert all(0 < (target.seconds or 0) <= 5 for target in there.targets)


def test_ctrl_c_during_a_pause_is_status_0() -> None:
    def interrupt(_seconds: float) -> None:
        raise KeyboardInterrupt

    there = Connections(lost())
    end = follow(ListenTarget("ws://host/"), there.run, there.said.append, interrupt)
    assert end == ListenResult(ENOUGH)
