"""gunicorn's settings from the environment (docs/settings.md). `gunicorn wsgi` reads this file automatically."""

# ruff: noqa: E402
import gc

gc.disable()  # modules being loaded leave nothing to collect; this makes the start a tenth faster

import functools
import importlib.metadata

from gevent import monkey

# gevent (26.9.0) searches the installed packages for its plugins 25 times: half the time that patching takes.
_entry_points = importlib.metadata.entry_points
importlib.metadata.entry_points = functools.cache(_entry_points)
monkey.patch_all()  # before all other imports: what the master imports, the workers inherit
importlib.metadata.entry_points = _entry_points

import gevent

gevent.config.track_greenlet_tree = False

import atexit
import os
import sys

from peatio_ws.errors import ConfigurationError, Fault
from peatio_ws.monitoring import metrics_folder

# Before the first import of a metric, which looks up its folder. A folder made by another gateway (which started this
# one, by USR2) is not ours; after a reload, our own folder exists already.
_PREFIX = f"{metrics_folder.PREFIX}{os.getpid()}-"
_name = os.path.basename(os.environ.get(metrics_folder.VARIABLE) or metrics_folder.PREFIX)


def _exit(faults):
    sys.exit("\n".join(f"configuration: {fault}" for fault in faults))


if _name.startswith(metrics_folder.PREFIX) and not _name.startswith(_PREFIX):
    try:
        os.environ[metrics_folder.VARIABLE] = metrics_folder.make()
    except ConfigurationError as error:
        _exit(error.faults)


atexit.register(metrics_folder.remove)  # if the process ends before `on_exit` is in force

import structlog

from peatio_ws.config import misspelt_variables
from peatio_ws.config.settings import Settings
from peatio_ws.monitoring import log_writer, logs, metrics
from peatio_ws.server import listen_addresses, open_files
from peatio_ws.server.gateway import Gateway
from peatio_ws.server.gunicorn import master as gunicorn_master
from peatio_ws.server.operator_port import listener
from peatio_ws.transport import tls

try:
    _settings = Settings.from_env(at_start=True)
except ConfigurationError as error:
    _exit(error.faults)

# Here, so that the workers share their memory; of the operators' interface they also share the count of wrong tokens.
if _settings.redis_url:
    import peatio_ws.cluster.redis_state
if _settings.admin_token:
    import peatio_ws.server.operator_port.api  # noqa: F401

# A collection writes to each object that it looks at. What is frozen here stays shared with the workers.
gc.freeze()
gc.enable()

logs.never_wait(_settings)
atexit.register(log_writer.settle)
logs.configure(_settings)
logconfig_dict = logs.for_gunicorn(_settings)

worker_class = "peatio_ws.worker.Worker"
workers = _settings.workers
_host = f"[{_settings.host}]" if ":" in _settings.host else _settings.host
bind = f"unix:{_settings.unix}" if _settings.unix else f"{_host}:{_settings.port}"
keyfile = str(_settings.ssl_key) if _settings.ssl_key else None
certfile = str(_settings.ssl_cert) if _settings.ssl_cert else None
# Above the connection limit a client gets an answer (503); above worker_connections it would hang.
worker_connections = _settings.max_connections + 200
open_files.allow(open_files.needed(_settings.max_connections))  # many shells allow 1024
backlog = 4096
graceful_timeout = round(_settings.drain_seconds) + 12
timeout = 60
control_socket_disable = True
# gunicorn (27.0.1) makes a file there for each new worker, and cannot start the worker without it. So choose a folder
# that no cleanup job removes.
worker_tmp_dir = metrics_folder.MEMORY if os.access(metrics_folder.MEMORY, os.W_OK | os.X_OK) else None
proc_name = "peatio_ws"


metrics.forget(os.getpid())  # the master has metrics, too, as soon as it imports them, but serves no clients


def on_starting(server):
    # With another bind, an open socket, or a port that another gateway may have too, there is no address to try.
    inherited = listen_addresses.inherits_socket(os.environ)
    ours = server.cfg.bind == [bind] and not (inherited or server.cfg.reuse_port)
    faults = listen_addresses.gateway_faults(_settings) if ours else []
    if _settings.embedded and server.cfg.workers > 1:  # by gunicorn's own option: WEB_CONCURRENCY is checked already
        text = "gunicorn's --workers has to be 1, because workers cannot share the in-process broker"
        faults.append(Fault(text, remedy="set AMQP_URL to your RabbitMQ"))
    try:
        listener.bind(_settings)
    except ConfigurationError as error:
        faults += error.faults
    if faults:
        _exit(faults)
    metrics_folder.report(os.environ)
    log = structlog.get_logger("peatio_ws.configuration")
    for name, meant in misspelt_variables.near_misses(os.environ).items():
        log.warning("unknown variable ignored", variable=name, similar=meant)
    gunicorn_master.prepare(server)


def on_reload(server):
    gunicorn_master.make_tls(server.cfg)


def pre_exec(server):
    # After USR2, in a child of the master that becomes the master of the new version.
    listener.hand_over(server.cfg.env_orig)


def ssl_context(config, make):
    # A list of ciphers that the operator made (--ciphers) is in the order that the operator wants.
    return tls.configure(make(), client_chooses=config.ciphers is None)


def post_worker_init(worker):
    for gateway in Gateway.instances():
        gateway.start()
    listener.serve(_settings, worker.sockets)
    for gateway in Gateway.instances():
        gateway.wait()


def on_exit(server):
    metrics_folder.remove()
    gc.freeze()  # otherwise Python's final collection takes longer than the rest of the shutdown
