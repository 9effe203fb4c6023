"""The worker class for gunicorn: `gunicorn -k peatio_ws.worker.Worker`. It is implemented in
`server/gunicorn_worker.py`."""

from __future__ import annotations

from peatio_ws.server.gunicorn_worker import Worker

__all__ = ["Worker"]
