"""The public name of the gunicorn worker: `gunicorn -k peatio_ws.worker.Worker`.

Implemented in `server/gunicorn/worker.py`.
"""

from __future__ import annotations

from peatio_ws.server.gunicorn.worker import Worker

__all__ = ["Worker"]
