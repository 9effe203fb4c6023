"""Revocations as Redis stores them."""

from __future__ import annotations

import time

from peatio_ws.auth.revocations import Revocation
from peatio_ws.cluster import commands, stored_revocations
from peatio_ws.cluster.stored_revocations import PAGE
from tests.unit.steered_workers import SteeredWorkers


def revoked(number: int) -> Revocation:
    return Revocation(f"ID{number}", time.time() + 3600 + number, "a", time.time())


def test_stored_revocations_are_read_in_pages() -> None:
    store = SteeredWorkers()
    rows = [revoked(number) for number in range(2 * PAGE + 1)]
    stored_revocations.store(store, rows, time.time())
    asked = []
    pages = list(stored_revocations.pages(store, "key", lambda request: asked.append(request) or request()))
    assert [len(page) for page in pages] == [PAGE, PAGE, 1]
    assert len(asked) == 3
    known, every = stored_revocations.read_all(store)
    assert sorted(known.known(time.time()), key=lambda one: one.until) == rows
    assert len(every) == len(rows)


def test_storing_removes_expired_ones() -> None:
    store = SteeredWorkers()
    store.revocations = {b"expired": time.time() - 1}
    stored_revocations.store(store, [one := revoked(1)], time.time())
    assert list(store.revocations) == [commands.encode(one)]


def test_cancelled_ones_are_not_in_force() -> None:
    store = SteeredWorkers()
    stored_revocations.store(store, [one := revoked(1), other := revoked(2)], time.time())
    stored_revocations.cancel(store, [one], [], time.time())
    assert list(stored_revocations.read_all(store)[0].known(time.time())) == [other]
    stored_revocations.cancel(store, [other], [commands.encode(other)], time.time())
    assert list(store.revocations) == [commands.encode(one)]
