"""`run_checks`: tries everything the gateway needs, in parallel, each item with a time limit.

`broker_check.py` asks a broker, `redis_check.py` asks Redis; `report.py` puts the findings into words.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec

from peatio_ws.auth import jwks_refresh
from peatio_ws.auth.jwks import KeyRing, parse_key_set
from peatio_ws.auth.verifier import Verifier
from peatio_ws.cli.check import broker_check, redis_check, report
from peatio_ws.cli.check.report import Finding
from peatio_ws.config import misspelt_variables
from peatio_ws.config.settings import Settings
from peatio_ws.errors import ConfigurationError, Fault, FaultCode
from peatio_ws.monitoring import metrics_folder
from peatio_ws.server import listen_addresses, open_files
from peatio_ws.transport.tls import read_certificate

PROBE_SECONDS: Final = 12.0
"""Time limit of all requests to one server."""

Probe = Callable[[], Iterator[Finding]]


def run_checks(environ: Mapping[str, str], token: str | None) -> Iterator[Finding]:
    """Yield all findings as they arrive, in the same order each time.

    Args:
        environ: as the gateway would read it.
        token: a token to verify, or None.
    """
    near_misses = misspelt_variables.near_misses(environ)
    yield from map(report.misspelt, near_misses, near_misses.values())
    try:
        settings, tried = Settings.from_env(environ, at_start=True), set(_AREAS)
        if not near_misses:
            yield Finding("settings", True, "no fault")
    except ConfigurationError as error:
        yield from map(report.faulty, error.faults)
        settings, tried = _valid_settings(environ, error.faults)
    probes: list[tuple[str, str, Probe]] = []
    for number, url in enumerate(settings.amqp_urls, 1):
        name = f"broker {number}" if number > 1 else "broker"
        probes.append(("broker", name, functools.partial(broker_check.broker, url, settings, name)))
    probes += [
        ("redis", "redis", functools.partial(redis_check.redis, settings)),
        ("keys", "key", functools.partial(_keys, settings, token)),
        ("certificate", "certificate", functools.partial(_certificate, settings)),
        ("port", "port", functools.partial(_ports, settings)),
        ("files", "open files", functools.partial(_files, settings)),
        ("files", "metrics", functools.partial(_metrics_folder, environ)),
    ]
    running = [_RunningProbe(what, probe) for area, what, probe in probes if area in tried]
    for one in running:
        yield from one.findings()
    for area in _AREAS:
        if area not in tried:
            yield Finding(area, None, "not tried: correct its settings first")


_AREAS: Final = {
    "broker": ("AMQP_", "RABBITMQ_"),
    "redis": ("REDIS_",),
    "keys": ("JWT_",),
    "certificate": ("WEBSOCKET_SSL_",),
    "port": ("WEBSOCKET_HOST", "WEBSOCKET_PORT", "WEBSOCKET_UNIX", "RANGER_", "METRICS_"),
    "files": ("WEBSOCKET_MAX_CONNECTIONS", "WEB_CONCURRENCY"),
}
"""The checked areas, and the prefixes of the variables that each depends on."""


def _valid_settings(environ: Mapping[str, str], faults: list[Fault]) -> tuple[Settings, set[str]]:
    """Return the settings without the faulty ones, and the areas that can be checked with them."""
    wrong = {name for fault in faults for name in fault.variables}
    tried = {area for area, names in _AREAS.items() if not any(name.startswith(names) for name in wrong)}
    left = {name: value for name, value in environ.items() if name not in wrong}
    if "keys" not in tried:
        left = {name: value for name, value in left.items() if not name.startswith("JWT_")}
        left |= {"JWT_ALGORITHM": "HS256", "JWT_PUBLIC_KEY": "-" * 32}
    try:
        return Settings.from_env(left), tried
    except ConfigurationError:  # a combination of variables is at fault: only this machine can be checked
        return Settings.from_env({"JWT_ALGORITHM": "HS256", "JWT_PUBLIC_KEY": "-" * 32}), set()


class _RunningProbe:
    """A probe in a separate thread, which is abandoned when its time is over."""

    def __init__(self, what: str, probe: Probe) -> None:
        self._what, self._probe = what, probe
        self._found: list[Finding] = []
        self._deadline = time.monotonic() + PROBE_SECONDS
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            for finding in self._probe():
                self._found.append(finding)
        except Exception as error:  # report any exception as a finding
            text = f"cannot be checked completely: {' '.join(str(error).split())[:160] or type(error).__name__}"
            self._found.append(Finding(self._what, False, text, "the log of that server may say more about it"))

    def findings(self) -> Iterator[Finding]:
        """Yield all that the probe found, or has found so far."""
        self._thread.join(max(0.0, self._deadline - time.monotonic()))
        late = self._thread.is_alive()
        yield from list(self._found)
        if late:
            text = f"no further answer within {PROBE_SECONDS:g} s"
            yield Finding(self._what, False, text, "is it frozen, overloaded, or blocked by a firewall?")


# ---- keys


def _keys(settings: Settings, token: str | None) -> Iterator[Finding]:
    rules = settings.token_rules
    verifier = Verifier(rules)
    yield from report.fixed_keys(settings)
    read, place = jwks_refresh.reader_for(rules), jwks_refresh.location(rules)
    if read is not None:
        try:
            found = parse_key_set(read(), settings.jwt_algorithm)
        except Exception as error:  # report any exception
            yield report.unreadable_key_set(place, jwks_refresh.fetch_error(error))
        else:
            verifier.ring = KeyRing(verifier.ring.fixed, found.keys)
            yield from report.published_keys(place, found)
    if token is not None:
        yield report.token(verifier, settings, token, time.time(), redis_check.revocations(settings))


# ---- this machine


def _certificate(settings: Settings) -> Iterator[Finding]:
    if settings.ssl_cert is None:
        return
    try:
        found = read_certificate(settings.ssl_cert)
    except (OSError, ValueError) as error:
        yield report.unreadable_certificate(str(error))
    else:
        yield report.certificate(found.names, found.begins.timestamp(), found.ends.timestamp(), time.time())


def _ports(settings: Settings) -> Iterator[Finding]:
    try:
        listen_addresses.check_addresses(settings)
    except ConfigurationError as error:
        taken = [fault for fault in error.faults if fault.code is FaultCode.ADDRESS_IN_USE]
        if len(taken) == len(error.faults) == (1 if settings.unix else 2) and _serves(settings):
            problems = _answer(settings, "/readyz").problems
            state = f", but is not ready: {'; '.join(problems)}" if problems else ""
            yield Finding("port", not problems, f"a gateway is serving here already{state}")
            return
        yield from (Finding("port", False, fault.text, fault.remedy) for fault in error.faults)
        return
    where = settings.unix or f"{settings.host}:{settings.port}"
    yield Finding("port", True, f"{where} and {settings.metrics_host}:{settings.metrics_port} are free")


class _Answer(msgspec.Struct):
    """The answer of a gateway at the operator's port (`server/operator_port/health.py`)."""

    problems: list[str] = []
    addresses: list[str] = []


def _serves(settings: Settings) -> bool:
    """Return whether the program at the operator's port is a gateway that accepts clients at the gateway's address."""
    addresses = _answer(settings, "/healthz").addresses
    if settings.unix:
        return settings.unix in addresses
    return str(settings.port) in [address.rpartition(":")[2] for address in addresses]


def _answer(settings: Settings, path: str) -> _Answer:
    """Return what a gateway answers at the operator's port; an empty answer if no gateway listens there."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.metrics_host, settings.metrics_host)
    url = f"http://{f'[{host}]' if ':' in host else host}:{settings.metrics_port}{path}"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        try:
            answer = opener.open(url, timeout=redis_check.STEP_SECONDS)
        except urllib.error.HTTPError as error:
            answer = error  # 503 is an answer too
        with answer:
            return msgspec.json.decode(answer.read(65_536), type=_Answer)
    except (OSError, ValueError, http.client.HTTPException, msgspec.MsgspecError):
        return _Answer()


def _files(settings: Settings) -> Iterator[Finding]:
    host = None
    with contextlib.suppress(OSError, ValueError):
        host = int(Path("/proc/sys/fs/file-max").read_text())
    _, hard = open_files.limits()
    yield report.files(settings, hard, host)


def _metrics_folder(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Check where the workers store their metrics: a folder that the operator names, or a temporary folder."""
    try:
        yield Finding("metrics", True, f"{metrics_folder.check(environ)} is writable")
    except ConfigurationError as error:
        yield from (Finding("metrics", False, fault.text, fault.remedy) for fault in error.faults)
