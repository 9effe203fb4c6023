"""Functions that the gateway calls: identify a user, and serve the WebSocket of a page."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user
from django.contrib.sessions.middleware import SessionMiddleware
from django.core.handlers.wsgi import WSGIRequest
from django.db import close_old_connections

from members.models import Member
from peatio_ws import require_authenticated

_sessions = SessionMiddleware(lambda _request: None)


def logged_in(environ: dict[str, Any]) -> str | None:
    """Return the uid of the logged-in user from Django's session. Called before the upgrade."""
    request = WSGIRequest(environ)
    _sessions.process_request(request)
    try:
        member = Member.objects.filter(user_id=get_user(request).pk).first()
        return member.uid if member else None
    finally:
        close_old_connections()  # Django does this only after requests that it serves itself


def messages(ws: Any) -> None:
    """Serve a page's connection: it receives pushes to its member. It uses no database connection."""
    require_authenticated(ws)
    ws.subscribe("message")
    ws.send('{"ready":true}')  # from now on the page receives every message
    for _ in ws:
        pass  # the page sends no messages
