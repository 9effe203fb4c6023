"""The order in which xdist runs live and fault tests: whole files, the longest first, so that all processes finish at
about the same time.

A file stays in one process, because every process would start the servers that its tests share. The longest files are
split into parts that run separately.
"""

from __future__ import annotations

from typing import Any

import pytest
from xdist.scheduler.loadscope import LoadScopeScheduling

LONGEST = (
    "tests/live/test_strangers.py",
    "tests/live/test_operator_page.py",
    "tests/live/test_clients.py",
    "tests/faults/test_no_fill_is_lost.py::test_the_broker",
    "tests/faults/test_no_fill_is_lost.py::test_all_failures_at_once",
    "tests/faults/test_no_fill_is_lost.py",
    "tests/live/test_check.py",
    "tests/live/test_documents.py",
    "tests/live/test_examples.py",
    "tests/live/test_sources.py",
    "tests/faults/test_cluster.py",
    "tests/live/test_console.py",
    "tests/live/test_behind_nginx.py",
    "tests/live/test_trades.py",
    "tests/faults/test_broker.py",
    "tests/faults/test_redis.py",
    "tests/live/test_trace.py",
    "tests/live/test_flask_and_django.py",
    "tests/live/test_listening.py",
    "tests/live/test_ten_lines.py",
    "tests/faults/test_redis_failover.py",
    "tests/live/test_image.py",
    "tests/faults/test_books.py",
    "tests/live/test_configuration.py",
    "tests/live/test_client_packages.py",
    "tests/live/test_transport.py",
    "tests/live/test_hanging_up.py",
    "tests/faults/test_soak.py",
    "tests/live/test_amqps.py",
    "tests/live/test_handlers.py",
    "tests/live/test_tls.py",
    "tests/faults/test_figures.py",
    "tests/live/test_docs.py",
    "tests/live/test_views.py",
    "tests/live/test_resume.py",
    "tests/live/test_ranger.py",
    "tests/faults/test_slow_clients.py",
    "tests/live/test_books.py",
    "tests/live/test_client_installs.py",
    "tests/live/test_spans.py",
    "tests/live/test_broker_permissions.py",
    "tests/live/test_reload.py",
    "tests/live/test_limits.py",
    "tests/live/test_barong.py",
    "tests/live/test_classic.py",
    "tests/live/test_client_faults.py",
    "tests/live/test_published_keys.py",
    "tests/live/test_steering.py",
    "tests/faults/test_steering.py",
    "tests/live/test_source_replaced.py",
    "tests/faults/test_fuzz.py",
    "tests/live/test_alerts.py",
    "tests/faults/test_drain.py",
    "tests/live/test_peatio_versions.py",
)
"""Prefixes of test ids. The first prefix that matches counts; tests without a prefix come last."""
KINDS = ("tests/live/", "tests/faults/")


def unit(nodeid: str) -> str:
    """Return the unit in which a test runs."""
    return next((name for name in LONGEST if nodeid.startswith(name)), nodeid.partition("::")[0])


def place(nodeid: str) -> int:
    """Return the position of a test in the order."""
    name = unit(nodeid)
    return LONGEST.index(name) if name in LONGEST else len(LONGEST)


def arrange(items: list[pytest.Item]) -> None:
    """Sort live and fault tests into this order. Tests of a file keep their order."""
    if all(item.nodeid.startswith(KINDS) for item in items):
        items.sort(key=lambda item: place(item.nodeid))


class LongestFirst(LoadScopeScheduling):
    """`--dist loadscope` with these units, in the order of collection."""

    def __init__(self, config: pytest.Config, log: Any = None) -> None:
        config.option.loadscopereorder = False
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        return unit(nodeid)
