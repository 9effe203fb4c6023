"""What answers plain HTTP at the gateway's port: the application, the console, or a text for people."""

from __future__ import annotations

from peatio_ws.config.settings import Settings
from peatio_ws.console.page import Page, WSGIApp
from peatio_ws.simulator.demo import Demo
from peatio_ws.simulator.publications import MARKET
from peatio_ws.transport.http.handshake import upgrade_required


def with_console(settings: Settings, app: WSGIApp | None, demo: Demo | None) -> WSGIApp:
    """Return what answers plain HTTP: the application, or the simulated exchange's REST API; and the console if
    `WEBSOCKET_CONSOLE` is set, or by default for a simulated exchange without an application."""
    by_default = demo is not None and app is None
    wanted = by_default if settings.console is None else settings.console
    plain = app or (upgrade_required if demo is None else demo.rest_api(upgrade_required))
    if not wanted:
        return plain
    return Page(plain, app is not None, demo.token if demo is not None else None, MARKET)
