"""The folder in which the workers of a gateway store their metrics: `PROMETHEUS_MULTIPROC_DIR`, or a new one.

Imports no metric: prometheus-client looks for the folder when the first metric is imported.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from typing import Final

import structlog

from peatio_ws.errors import ConfigurationError, Fault

log = structlog.get_logger("peatio_ws.monitoring.metrics_folder")

VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
PREFIX: Final = "peatio_ws-metrics-"
"""The names of folders made here begin with it; the id of the master process follows."""
MEMORY: Final = "/dev/shm"
"""Often writable in a container with a read-only file system."""
_WRITABLE: Final = "an existing folder that the gateway may write to"


def make() -> str:
    """Make a folder for this process and its workers.

    Raises:
        ConfigurationError: no temporary folder is writable.
    """
    for where in (None, MEMORY):
        try:
            return tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=where)
        except OSError:
            pass
    text, remedy = "TMPDIR: no temporary folder is writable", f"set TMPDIR to {_WRITABLE}"
    raise ConfigurationError([Fault(text, ("TMPDIR",), remedy)])


def remove() -> None:
    """Remove the folder that `make` made for this process, if it is in use. Do nothing in a worker."""
    folder = os.environ.get(VARIABLE, "")
    if os.path.basename(folder).startswith(f"{PREFIX}{os.getpid()}-"):
        shutil.rmtree(folder, ignore_errors=True)


def check(environ: Mapping[str, str]) -> str:
    """Return the folder in which a gateway with this environment stores its metrics, or makes a folder for them. Leaves
    nothing there.

    Raises:
        ConfigurationError: no file can be written there.
    """
    folder = environ.get(VARIABLE)
    if not folder:
        made = make()
        os.rmdir(made)
        return os.path.dirname(made)
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        text = f"{VARIABLE}={folder}: no file can be written there: {error.strerror}"
        remedy = f"set {VARIABLE} to {_WRITABLE}, or leave it out"
        raise ConfigurationError([Fault(text, (VARIABLE,), remedy)]) from None
    return folder


def report(environ: Mapping[str, str]) -> None:
    """Log an error if no file can be written in the folder. The gateway starts, but cannot export the metrics of all
    workers together."""
    try:
        check(environ)
    except ConfigurationError as error:
        for fault in error.faults:
            log.error(
                "metrics folder is not writable; each worker keeps its own", reason=fault.text, remedy=fault.remedy
            )
