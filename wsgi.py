"""What gunicorn serves: `gunicorn wsgi`."""

from peatio_ws import Gateway

application = Gateway.from_env()
