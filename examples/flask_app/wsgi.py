"""WSGI entry point: the gateway, which passes plain HTTP requests to the Flask application."""

from __future__ import annotations

from typing import Any

from flask import session
from members import create_app

from peatio_ws import Gateway, require_authenticated

app = create_app()
application = gateway = Gateway.from_env(app=app)
app.extensions["gateway"] = gateway  # for the views: current_app.extensions["gateway"].publisher


def logged_in(environ: dict[str, Any]) -> str | None:
    """Return the uid from Flask's session. Called before the upgrade, while the request exists."""
    with app.request_context(environ):
        return session.get("uid")


@gateway.websocket("/messages", identify=logged_in)
def messages(ws: Any) -> None:
    """Serve a page's connection: it receives pushes to its member."""
    require_authenticated(ws)
    ws.subscribe("message")
    ws.send('{"ready":true}')  # from now on the page receives every message
    for _ in ws:
        pass  # the page sends no messages
