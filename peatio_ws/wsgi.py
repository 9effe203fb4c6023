"""The WSGI application that gunicorn serves for `peatio-ws run`."""

from peatio_ws import Gateway

application = Gateway.from_env()
