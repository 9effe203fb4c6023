"""A gateway that sends a mark back, so that a test sees how far it is with what came before."""

from __future__ import annotations

from typing import Any

from peatio_ws import Gateway

application = gateway = Gateway.from_env()


@gateway.on("mark")
def mark(session: Any, message: dict[str, Any]) -> None:
    session.reply(message)
