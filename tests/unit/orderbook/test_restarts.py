"""A sequence that starts again is told from increments that come twice or too late."""

from __future__ import annotations

from peatio_ws.orderbook.restarts import MOST_OVERTAKEN, REPEATS_REMEMBERED, RestartDetector


def body(sequence: int, engine: str = "new") -> bytes:
    return b"%s %d" % (engine.encode(), sequence)


def seen(*sequences: int) -> RestartDetector:
    """Return a detector that has seen these increments of an old engine."""
    made = RestartDetector()
    for sequence in sequences:
        made.on_new(sequence, body(sequence, "old"))
    return made


def old(detector: RestartDetector, *sequences: int, engine: str = "new") -> list[bool]:
    return [detector.on_old(sequence, body(sequence, engine)) for sequence in sequences]


def test_third_ascending_increment_from_a_lower_number_is_a_restart() -> None:
    assert old(seen(100), 1, 2, 3) == [False, False, True]


def test_counting_begins_again_after_a_restart() -> None:
    detector = seen(100)
    assert old(detector, 1, 2, 3, 4, 5, 6) == [False, False, True, False, False, False]
    assert old(detector, 1, 2, 3) == [False, False, True]


def test_repeated_increments_are_no_restart() -> None:
    numbers = range(100, 100 + REPEATS_REMEMBERED)
    assert not any(old(seen(*numbers), *numbers, engine="old"))


def test_increments_that_continue_from_the_last_one_are_no_restart() -> None:
    detector = seen(5)  # a snapshot with a higher number has overtaken those that follow
    assert old(detector, 6, 7, 8, 9) == [False] * 4


def test_a_new_increment_in_between_is_no_restart() -> None:
    detector = seen(100)
    assert old(detector, 1, 2) == [False, False]
    detector.on_new(101, body(101))
    assert old(detector, 3, 4) == [False, False]


def test_increments_that_do_not_ascend_are_no_restart() -> None:
    assert not any(old(seen(100), 1, 3, 2, 7, 5))


def test_increments_that_an_adopted_book_contains_already_are_no_restart() -> None:
    detector = RestartDetector()  # of a worker that has received none yet
    detector.on_adopted(500)
    assert old(detector, 495, 496, 497, 498, 499, 500) == [False] * 6
    assert old(detector, 1, 2, 3) == [False, False, True]


def test_restart_is_noticed_after_adopting_a_book_of_the_old_engine() -> None:
    detector = RestartDetector()
    detector.on_adopted(5 * MOST_OVERTAKEN)
    assert old(detector, 1, 2, 3) == [False, False, True]
    received = seen(100)
    received.on_adopted(101)
    assert old(received, 1, 2, 3) == [False, False, True]
