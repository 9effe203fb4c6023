"""What gunicorn serves: the gateway, and behind it the Flask application, which gets all that is no WebSocket."""

from __future__ import annotations

from typing import Any

from flask import session
from members import create_app

from peatio_ws import Gateway, require_authenticated

app = create_app()
application = gateway = Gateway.from_env(app=app)
app.extensions["gateway"] = gateway  # for the views: current_app.extensions["gateway"].publisher


def logged_in(environ: dict[str, Any]) -> str | None:
    """Who it is by Flask's session; asked before the connection is upgraded, while there is a request."""
    with app.request_context(environ):
        return session.get("uid")


@gateway.websocket("/notices", identify=logged_in)
def notices(ws: Any) -> None:
    """Holds a page's connection: what a view pushes to its member goes there."""
    require_authenticated(ws)
    ws.subscribe("notice")
    ws.send('{"ready":true}')  # from here on no notice passes it by
    for _ in ws:
        pass  # the page says nothing
