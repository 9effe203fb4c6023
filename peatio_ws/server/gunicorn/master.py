"""Changes to gunicorn's master for a gateway: it polls often whether its workers have ended, validates the
configuration before a reload, and starts a successor (`USR2`) only where that works. Knows gunicorn's `Arbiter`; knows
no client and no broker.
"""

from __future__ import annotations

import contextlib
import io
import os
import select
import signal
import sys
import time
from typing import Any, Final, NoReturn

import msgspec
import structlog
from gunicorn import arbiter
from gunicorn.sock import ssl_context

from peatio_ws.errors import ConfigurationError
from peatio_ws.monitoring import log_writer, metrics_folder
from peatio_ws.monitoring.throttled_warnings import Throttle
from peatio_ws.server import listen_addresses
from peatio_ws.server.gunicorn.server import Server, server_tls
from peatio_ws.server.gunicorn.worker import Worker
from peatio_ws.server.operator_port import listener

log = structlog.get_logger("peatio_ws.server.gunicorn.master")

LOOK_SECONDS: Final = 0.01
"""How often an ending or reloading master checks its workers."""
TRIAL_SECONDS: Final = 60.0
"""Time limit for loading configuration and application."""
ALONE_SECONDS: Final = 30.0
"""How long a master without any worker tries to start one."""
SPAWN_LOG_SECONDS: Final = 60.0
"""A worker that cannot be started is logged once in this time."""
_NO_CHECK: Final = "no process can be started to check configuration and application"
CONFIGURATION: Final = "configuration: "
"""The prefix of a fault with which gunicorn.conf.py ends the process."""


def prepare(master: Any) -> None:
    """Change gunicorn's master, whose settings are valid. Call it from gunicorn's hook `on_starting`."""
    _poll_often()
    Worker.patient = True
    make_tls(master.cfg)
    reload, reexec, stop, manage = master.reload, master.reexec, master.stop, master.manage_workers
    master.reload = lambda: _reload(master, reload)
    master.reexec = lambda: _start_successor(master, reexec)
    master.stop = lambda graceful=True: _stop(master, stop, graceful)
    master.manage_workers = lambda: _manage_workers(master, manage)
    master.spawn_worker = Spawner(master, master.spawn_worker)
    # gunicorn (27.0.1) would start `python -m gunicorn` by the path of its file, next to which its module `http` hides
    # Python's.
    master.START_CTX["args"] = list(sys.orig_argv)


def make_tls(cfg: Any) -> None:
    """Make the SSL context of the workers that are forked from now on. Call it from gunicorn's hook `on_reload`, too.

    It is made once for all of them, so that a client can use a session ticket with another worker.
    """
    try:
        Server.tls = server_tls(cfg)
    except OSError:
        Server.tls = None  # each worker tries again, and reports the fault


def _poll_often() -> None:
    """Let the master notice within `LOOK_SECONDS` that its last worker has ended.

    gunicorn (27.0.1) sleeps 0.1 s between two checks, and another 0.1 s after the one that found no worker left.
    These loops have deadlines.
    """
    arbiter.time = _Clock()


class _Clock:
    """The module `time` with a shorter sleep."""

    @staticmethod
    def sleep(seconds: float) -> None:
        time.sleep(min(seconds, LOOK_SECONDS))

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)


def _reload(master: Any, reload: Any) -> None:
    """Reload if that will succeed; otherwise log each fault, and change nothing. If a new worker cannot be started, log
    that; an old one continues.

    gunicorn (27.0.1) would end the master at a fault in the configuration, and the whole server at a worker that cannot
    load its application, and with them every connection.
    """
    faults = _validate_in_child(master)
    if not faults:
        try:
            reload()
        except SystemExit as end:
            # A worker process reaches this, too. The master takes its new settings before it changes anything.
            if os.getpid() != master.pid or master.app.cfg is master.cfg:
                raise
            faults = _lines(end, "")
            master.app.cfg = master.cfg
            os.environ.update(master.cfg.env)
        except (OSError, RuntimeError) as error:
            if os.getpid() != master.pid:
                raise
            log.error("reload failed; send HUP again", fault=_lines(error, "")[0])
    for fault in faults:
        log.error("reload refused; workers keep their settings", fault=fault)


def _start_successor(master: Any, reexec: Any) -> None:
    """Start another master from the files on disk, on the same sockets, if the two can be exchanged (`USR2`)."""
    if fault := _successor_fault(master):
        log.error("USR2 refused", fault=fault)
        return
    ours = os.getpid()
    try:
        reexec()
    except Exception as error:
        log.error("USR2 failed; no successor is started", fault=_lines(error, "")[0])
        if os.getpid() != ours:
            # The child that should have become the successor. gunicorn (27.0.1) would end the workers there, and remove
            # the Unix socket.
            log_writer.settle()
            os._exit(1)


def _successor_fault(master: Any) -> str | None:
    """Return why a successor would not start, or not survive this master; None if it would."""
    if master.systemd or "NOTIFY_SOCKET" in os.environ:
        return "systemd ends the successor together with this process; restart the unit"
    if os.getpid() == 1:
        return "a container ends with its first process; start another container"
    if master.cfg.reuse_port:  # there is no socket that gunicorn (27.0.1) could pass on, and it does not expect that
        return "with --reuse-port, start another gateway with a different METRICS_PORT"
    return None


class Spawner:
    """Starts workers. If one that has died cannot be replaced, it logs that, and gunicorn tries again after a second.

    gunicorn (27.0.1) would end the master, and with it all other workers, for example while there is no memory for
    another process, or where the folder for the file of each worker is gone.

    Args:
        spawn: gunicorn's method.
    """

    def __init__(self, master: Any, spawn: Any) -> None:
        self._master, self._spawn = master, spawn
        self._has_started = False
        self._alone_since: float | None = None  # since when there is no worker, and none could be started
        self._throttle = Throttle()

    def __call__(self) -> Any:
        try:
            pid = self._spawn()
        except (OSError, RuntimeError) as error:
            now = time.monotonic()
            self._alone_since = None if self._master.WORKERS else self._alone_since or now
            alone = self._alone_since is not None and now - self._alone_since > ALONE_SECONDS
            # At the start, and after a while without any worker, the gateway ends, and a supervisor starts it again. A
            # worker process may reach this, too. gunicorn would not repeat a reload, but wait for its old workers.
            reloading = len(self._master.WORKERS) >= self._master.num_workers
            if alone or reloading or not self._has_started or os.getpid() != self._master.pid:
                raise
            left_out = self._throttle.left_out("", now, SPAWN_LOG_SECONDS)
            if left_out is not None:
                log.error("worker cannot be started", fault=_lines(error, "")[0], left_out=left_out)
            return None
        self._has_started, self._alone_since = True, None
        return pid


def _manage_workers(master: Any, manage: Any) -> None:
    """Start and end workers. One that ends leaves the operator's port to the others, if there are some."""
    _announce(master, len(master.WORKERS) <= 1)
    manage()


def _stop(master: Any, stop: Any, graceful: bool) -> None:
    """End all workers. They answer on the operator's port meanwhile, unless another master's workers do (`USR2`)."""
    _announce(master, True)
    stop(graceful)


def _announce(master: Any, last: bool) -> None:
    listener.announce(last and not (master.reexec_pid or master.master_pid))


def _validate_in_child(master: Any) -> list[str]:
    """Load configuration and application as a reload and its workers would. Return the faults, one line each."""
    try:
        reader, writer = os.pipe()
    except OSError as error:
        return [f"{_NO_CHECK}: {error.strerror}"]
    try:
        child = os.fork()
    except OSError as error:
        os.close(reader)
        os.close(writer)
        return [f"{_NO_CHECK}: {error.strerror}"]
    if not child:
        _validate(master, writer)
    os.close(writer)
    output, deadline = b"", time.monotonic() + TRIAL_SECONDS
    with open(reader, "rb", buffering=0) as pipe:
        while select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
            if not (data := pipe.read(65_536)):
                break
            output += data
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)  # it has ended, or exceeded the limit
    status = 0
    with contextlib.suppress(ChildProcessError):
        _, status = os.waitpid(child, 0)
    try:
        return msgspec.json.decode(output, type=list[str])
    except msgspec.DecodeError:
        if time.monotonic() >= deadline:
            return [f"configuration and application could not be loaded within {TRIAL_SECONDS:g} s"]
        return [f"the process that loaded configuration and application ended without a result ({_end(status)})"]


def _end(status: int) -> str:
    """Return how a process ended. `status`: of `waitpid`."""
    code = os.waitstatus_to_exitcode(status)
    return f"status {code}" if code >= 0 else signal.Signals(-code).name


def _validate(master: Any, writer: int) -> NoReturn:
    """Runs in the child process, and ends it: no effect remains in the master."""
    said, faults = io.StringIO(), list[str]()
    try:
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            before = master.cfg.address
            master.app.reload()
            faults = _address_faults([one for one in master.app.cfg.address if one not in before])
            if master.app.cfg.is_ssl:
                ssl_context(master.app.cfg)
            master.app.wsgi()
    except BaseException as error:
        faults += _lines(error, said.getvalue())
    finally:
        try:
            metrics_folder.remove()  # the configuration file has made one for this process
            os.write(writer, msgspec.json.encode(faults))
        finally:
            os._exit(0)


def _address_faults(addresses: list[Any]) -> list[str]:
    """Return why the master could not listen at new addresses. gunicorn would retry for 5 s, and then end."""
    faults = []
    for address in addresses:
        if isinstance(address, tuple):
            try:
                listen_addresses.bind_socket(*address[:2]).close()
            except OSError as error:
                faults.append(f"bind={address[0]}:{address[1]}: cannot listen there: {error.strerror}")
    return faults


def _lines(error: BaseException, said: str) -> list[str]:
    """Return the text of a fault, one line each.

    Args:
        said: the output so far; gunicorn prints the traceback of a configuration file and exits with a number.
    """
    if isinstance(error, ConfigurationError):
        return [str(fault) for fault in error.faults]
    if isinstance(error, SystemExit):
        text = error.code if isinstance(error.code, str) else (said.strip().splitlines() or ["cannot be loaded"])[-1]
        return [line.removeprefix(CONFIGURATION) for line in text.splitlines()]
    return [f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"]
