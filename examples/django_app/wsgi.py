"""WSGI entry point: the gateway, which passes plain HTTP requests to the Django project."""

from __future__ import annotations

import os

from django.core.wsgi import get_wsgi_application

from peatio_ws import Gateway

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "exchange.settings")
application = Gateway.from_env(app=get_wsgi_application())

from members import sockets  # noqa: E402  (models are available only now)

application.websocket("/messages", identify=sockets.logged_in)(sockets.messages)
