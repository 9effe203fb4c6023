"""What gunicorn serves: the gateway, and behind it the Django project, which gets all that is no WebSocket."""

from __future__ import annotations

import os

from django.core.wsgi import get_wsgi_application

from peatio_ws import Gateway

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "exchange.settings")
application = Gateway.from_env(app=get_wsgi_application())

from members import sockets  # noqa: E402  (models are there only now)

application.websocket("/notices", identify=sockets.logged_in)(sockets.notices)
