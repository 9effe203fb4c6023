"""A gateway that answers marks, so that a test knows which of its messages have been processed."""

from __future__ import annotations

from typing import Any

from peatio_ws import Gateway

application = gateway = Gateway.from_env()


@gateway.on("mark")
def mark(session: Any, message: dict[str, Any]) -> None:
    session.reply(message)
