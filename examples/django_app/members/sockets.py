"""What the gateway calls: who it is, and what a page's WebSocket does."""

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
    """The uid of who has logged in, by Django's session; asked before the connection is upgraded."""
    request = WSGIRequest(environ)
    _sessions.process_request(request)
    try:
        member = Member.objects.filter(user_id=get_user(request).pk).first()
        return member.uid if member else None
    finally:
        close_old_connections()  # Django does it after each of its own requests; this is none


def notices(ws: Any) -> None:
    """Holds a page's connection: what a view pushes to its member goes there. No database is used meanwhile."""
    require_authenticated(ws)
    ws.subscribe("notice")
    ws.send('{"ready":true}')  # from here on no notice passes it by
    for _ in ws:
        pass  # the page says nothing
