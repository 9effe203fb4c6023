"""gunicorn's settings out of the gateway's environment (see README.md). `gunicorn wsgi` reads this file by itself."""

# ruff: noqa: E402
from gevent import monkey

monkey.patch_all()  # first of all: what the master imports, the workers inherit

import gevent

gevent.config.track_greenlet_tree = False

import os
import shutil
import sys
import tempfile

_OWN_FOLDER = "PROMETHEUS_MULTIPROC_DIR" not in os.environ
if _OWN_FOLDER:
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="peatio_ws-metrics-")

from prometheus_client import multiprocess

from peatio_ws import health, logs
from peatio_ws.errors import ConfigurationError
from peatio_ws.gateway import Gateway
from peatio_ws.settings import Settings

try:
    _settings = Settings.from_env()
except ConfigurationError as error:
    sys.exit("\n".join(f"configuration: {fault}" for fault in error.faults))

logs.configure(_settings)
logconfig_dict = logs.for_gunicorn(_settings)

worker_class = "peatio_ws.worker.Worker"
workers = _settings.workers
bind = f"unix:{_settings.unix}" if _settings.unix else f"{_settings.host}:{_settings.port}"
keyfile = str(_settings.ssl_key) if _settings.ssl_key else None
certfile = str(_settings.ssl_cert) if _settings.ssl_cert else None
# Over the limit a client gets an answer (503); beyond worker_connections it would hang.
worker_connections = _settings.max_connections + 200
backlog = 4096
graceful_timeout = round(_settings.drain_seconds) + 12
timeout = 60
control_socket_disable = True
proc_name = "peatio_ws"


def on_starting(server):
    try:
        health.bind(_settings)
    except ConfigurationError as error:
        raise RuntimeError("; ".join(error.faults)) from None


def post_worker_init(worker):
    for gateway in Gateway.instances():
        gateway.start()
    health.serve()


def child_exit(server, worker):
    multiprocess.mark_process_dead(worker.pid)


def on_exit(server):
    if _OWN_FOLDER:
        shutil.rmtree(os.environ["PROMETHEUS_MULTIPROC_DIR"], ignore_errors=True)
