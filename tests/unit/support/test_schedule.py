"""The order in which live and fault tests run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support import schedule

ROOT = Path(__file__).parent.parent.parent.parent


@pytest.mark.parametrize("name", schedule.LONGEST)
def test_named_tests_exist(name: str) -> None:
    path, _, test = name.partition("::")
    assert re.search(rf"^def {test}", (ROOT / path).read_text(), re.MULTILINE)


def test_longest_tests_come_first_and_files_stay_together() -> None:
    faults = "tests/faults/test_no_fill_is_lost.py"
    names = [
        "tests/live/test_new.py::test_a[1]",
        "tests/live/test_check.py::test_b",
        f"{faults}::test_redis_killed",
        f"{faults}::test_all_failures_at_once",
        "tests/live/test_new.py::test_c",
    ]
    names.sort(key=schedule.place)
    assert [schedule.unit(name) for name in names] == [
        f"{faults}::test_all_failures_at_once",
        faults,
        "tests/live/test_check.py",
        "tests/live/test_new.py",
        "tests/live/test_new.py",
    ]
