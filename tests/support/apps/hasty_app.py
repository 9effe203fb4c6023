"""The gateway with a short time limit for connecting to the broker, to test that other waits are not limited by it."""

from __future__ import annotations

from peatio_ws.amqp import connection
from peatio_ws.wsgi import application

connection.CONNECT_TIMEOUT = 2.0  # type: ignore[misc]  # half of it for each step

__all__ = ["application"]
