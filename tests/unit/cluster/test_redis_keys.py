"""The keys in Redis: an ACL with two patterns covers all, and no other module spells one."""

from __future__ import annotations

import re
from pathlib import Path

import peatio_ws
from peatio_ws.cluster import redis_keys

PACKAGE = Path(peatio_ws.__file__).parent


def test_each_key_is_covered_by_the_documented_acl() -> None:
    keys = [value for name, value in vars(redis_keys).items() if name.isupper()]
    keys += [redis_keys.answers_key("1f"), redis_keys.books_answers_key("1f"), redis_keys.trace_channel("1f")]
    assert len(set(keys)) == 15
    assert all(key.startswith(("peatio:", "peatio_ws:")) for key in keys)


def test_no_other_module_spells_a_key() -> None:
    spelled = {
        path.name
        for path in PACKAGE.rglob("*.py")
        if re.search(r'f?"peatio(_ws)?:[a-z]', path.read_text()) and path.name != "redis_keys.py"
    }
    assert not spelled
