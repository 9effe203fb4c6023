"""What gunicorn serves where the package is installed: `peatio-ws run`."""

from peatio_ws import Gateway

application = Gateway.from_env()
