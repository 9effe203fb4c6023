"""The worker class's path in the documents and gunicorn's settings."""

from __future__ import annotations

import peatio_ws.worker
from peatio_ws.server.gunicorn import worker


def test_the_documented_worker_class_is_the_gateways() -> None:
    assert peatio_ws.worker.Worker is worker.Worker
