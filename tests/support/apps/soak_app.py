"""A gateway that reports its resources: `/` returns greenlets, descriptors, registered connections and memory."""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from greenlet import greenlet

from peatio_ws import Gateway


def report(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    gc.collect()
    (gateway,) = Gateway.instances()
    # Not "Pss": that changes when another process that shares pages with this one starts or ends.
    rollup = Path("/proc/self/smaps_rollup").read_text()
    held = {
        "greenlets": sum(isinstance(thing, greenlet) for thing in gc.get_objects()),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "register": len(gateway._ingest.router),
        "connections": len(gateway._registry),
        "seats": len(gateway._shared.slot_counts),
        "kilobytes": int(rollup.split("Anonymous:")[1].split()[0]),
    }
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(held).encode()]


application = Gateway.from_env(app=report)
