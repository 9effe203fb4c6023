"""The findings of `check` as rows of a table, in words: the settings, the keys, a token and this machine.

Receives the facts as arguments and reads nothing itself (`runner.py` does). Broker and Redis: `remedies.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import jwt

from peatio_ws.auth.jwks import KeySet, shown_kid
from peatio_ws.auth.keys import description
from peatio_ws.auth.revocations import Revocations
from peatio_ws.auth.verifier import Verifier
from peatio_ws.config.settings import Settings
from peatio_ws.config.validation_errors import shown
from peatio_ws.errors import AuthenticationError, ErrorCode, Fault, FaultCode, TokenFault
from peatio_ws.server import open_files

CLOCK_SECONDS: Final = 2.0
"""The largest difference between two clocks that is accepted."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A row of the table.

    Attributes:
        what: the item that was checked.
        ok: None if the item can be neither right nor wrong.
        text: what was found.
        remedy: what to do.
        code: the problem, for programs; None if there is none, or its text is enough.
    """

    what: str
    ok: bool | None
    text: str
    remedy: str = ""
    code: ErrorCode | None = None

    @property
    def mark(self) -> str:
        """The result as a short word."""
        return {True: "ok", False: "WRONG", None: "-"}[self.ok]


def problem(code: ErrorCode, what: str, place: str = "", **fields: object) -> Finding:
    """Return the finding of a problem: its text and its remedy, with these fields filled in.

    Args:
        place: the server's host and port, put before the text.
    """
    text = code.text.format(**fields)
    return Finding(what, False, f"{place}: {text}" if place else text, code.remedy.format(**fields), code)


# ---- settings


def faulty(fault: Fault) -> Finding:
    """Return the finding of a fault of the environment."""
    if fault.code is FaultCode.KEY_UNUSABLE:
        return Finding("settings", False, fault.text, _KIND)
    return Finding("settings", False, fault.text, fault.remedy)


def misspelt(name: str, meant: str) -> Finding:
    """Return the finding of a variable that the gateway does not read but that resembles a known one."""
    text = f"{name} is not a variable of the gateway, which ignores it; {meant} is"
    return Finding("settings", False, text, f"rename it to {meant}, or remove it")


_KIND: Final = (
    "JWT_ALGORITHM is the algorithm that the issuer (Barong) signs with. The key must match it: RSA for RS and PS, EC "
    "P-256 for ES256, P-384 for ES384, P-521 for ES512, Ed25519 for EdDSA"
)


# ---- keys


def fixed_keys(settings: Settings) -> list[Finding]:
    """Return the findings of the keys in the environment."""
    return [Finding("key", True, f"from the environment: {description(key)}") for key in settings.jwt_keys]


def published_keys(place: str, found: KeySet) -> list[Finding]:
    """Return the findings of a key set: its keys, and its other entries."""
    findings = [
        Finding("key", True, f"{place}: {shown_kid(named.kid)}, {description(named.key)}") for named in found.keys
    ]
    findings += [Finding("key", None, f"{place}: {line}") for line in found.ignored]
    findings += [Finding("key", False, f"{place}: {line}", "remove it from the set") for line in found.exposed]
    if not found.keys:
        findings.append(
            Finding("key", False, f"{place}: contains no usable key", f"publish a public key there; {_KIND}")
        )
    return findings


def unreadable_key_set(place: str, reason: str) -> Finding:
    """Return the finding of a key set that cannot be read."""
    return Finding("key", False, f"{place}: {reason}", f"correct {place.partition('=')[0]}, or check its issuer")


# ---- a token


def token(
    verifier: Verifier, settings: Settings, text: str, now: float, revocations: Revocations | None = None
) -> Finding:
    """Return whether the gateway would accept a token at a time (Unix seconds); if not, why, and the claim at fault.

    Args:
        revocations: the current revocations; None if they are unknown.
    """
    text = text.strip().removeprefix("Bearer ").strip()
    try:
        found = verifier.verify(text, now)
    except AuthenticationError as error:
        blame = _find_cause(error.code, *_decode_unverified(text), settings, verifier, now)
        said = f"is refused: {error}{f' ({blame})' if blame else ''}"
        return Finding("token", False, said, error.remedy, error.code)
    if revocations is not None and revocations.is_revoked(found, now):
        return Finding(
            "token",
            False,
            f"verifies, but was revoked by an operator (uid {shown(found.uid)})",
            TokenFault.REVOKED.remedy,
        )
    member = f", member id {found.member_id}" if found.member_id is not None else ""
    role = f", role {shown(found.role)}" if found.role else ""
    unknown = "; Redis is unreachable, so it is not known whether it was revoked" if revocations is None else ""
    text = f"is valid for uid {shown(found.uid)}{member}{role}, until {_time(found.expires, now)}{unknown}"
    return Finding("token", True, text)


def _decode_unverified(text: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return the header and the claims of a token without verifying it."""
    try:
        return jwt.get_unverified_header(text), jwt.decode(text, options={"verify_signature": False})
    except (jwt.PyJWTError, TypeError, ValueError, RecursionError):
        return {}, {}


def _find_cause(
    code: TokenFault,
    header: Mapping[str, Any],
    claims: Mapping[str, Any],
    settings: Settings,
    verifier: Verifier,
    now: float,
) -> str:
    """Return which part of a token is at fault."""
    kid = header.get("kid")
    named = "it names no key" if kid is None else f"its kid is {shown_kid(str(kid))}"
    if code in _TIMES:
        return _time(claims.get(_TIMES[code]), now)
    if code in _WANTED:
        claim, variable, wanted = _WANTED[code](settings)
        given = header.get(claim) if claim == "alg" else claims.get(claim)
        return f"it is {shown(given)}{f', {variable} is {wanted}' if variable else ''}"
    if code is TokenFault.SIGNATURE:
        return f"another key signed it; {named}"
    if code is TokenFault.KEY_UNKNOWN:
        return f"{named}; the set contains {', '.join(shown_kid(key.kid) for key in verifier.ring.published)}"
    return ""


_TIMES: Final = {TokenFault.EXPIRED: "exp", TokenFault.ISSUED_LATER: "iat", TokenFault.NOT_VALID_YET: "nbf"}
_WANTED: Final[Mapping[TokenFault, Callable[[Settings], tuple[str, str, object]]]] = {
    TokenFault.ALGORITHM: lambda settings: ("alg", "JWT_ALGORITHM", settings.jwt_algorithm),
    TokenFault.AUDIENCE: lambda settings: ("aud", "JWT_AUDIENCE", ",".join(settings.jwt_audience)),
    TokenFault.ISSUER: lambda settings: ("iss", "JWT_ISSUER", settings.jwt_issuer),
    TokenFault.SUBJECT: lambda _: ("sub", "", ""),
    TokenFault.STATE: lambda _: ("state", "", ""),
}


def _time(value: object, now: float) -> str:
    """Return a time (Unix seconds) for people, with its distance from now."""
    try:
        seconds = float(str(value))
        text = datetime.fromtimestamp(seconds, UTC).isoformat(sep=" ", timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return shown(value)
    distance = timedelta(seconds=round(abs(seconds - now)))
    return f"{text.removesuffix('+00:00')} UTC, {distance} {'ago' if seconds <= now else 'from now'}"


# ---- this machine


def certificate(names: tuple[str, ...], begins: float, ends: float, now: float) -> Finding:
    """Return whether the certificate of the gateway's port is valid now. Times are Unix seconds."""
    whose = f"for {', '.join(map(shown, names))}" if names else "without a host name"
    remedy = "put a valid one there: a gateway that runs reads the new files by itself"
    if now < begins:
        return Finding("certificate", False, f"{whose}, not valid before {_time(begins, now)}", remedy)
    if now >= ends:
        return Finding("certificate", False, f"{whose}, has expired: {_time(ends, now)}", remedy)
    return Finding("certificate", True, f"{whose}, valid until {_time(ends, now)}")


def unreadable_certificate(reason: str) -> Finding:
    """Return the finding of a certificate of which only OpenSSL can make sense."""
    return Finding("certificate", None, f"its names and dates cannot be read: {reason}")


def files(settings: Settings, hard: int, host: int | None) -> Finding:
    """Compare the limits of open files, of a process and of the host, with what the settings may need.

    Args:
        hard: the hard limit of a process. A gateway raises its soft limit by itself.
        host: the limit of all processes; None if it is unknown.
    """
    most = settings.max_connections
    a_worker = open_files.needed(most)
    every = a_worker * settings.workers
    text = f"a process may open {hard}; a worker may need {a_worker} (WEBSOCKET_MAX_CONNECTIONS={most})"
    if hard < a_worker:
        fewer = f"or WEBSOCKET_MAX_CONNECTIONS={max(1, hard - open_files.EXTRA_FILES)}"
        remedy = f"`ulimit -n {a_worker}` as root before it starts (LimitNOFILE={a_worker} in a systemd unit); {fewer}"
        return Finding("open files", False, text, remedy)
    if host is not None and host < every:
        text = f"this host may open {host}; {settings.workers} workers may need {every}"
        return Finding("open files", False, text, f"`sysctl fs.file-max={2 * every}`; or fewer connections or workers")
    return Finding("open files", True, text)


def clock(difference: float) -> Finding:
    """Compare this host's clock with that of Redis. `difference`: Redis minus ours, in seconds."""
    if abs(difference) <= CLOCK_SECONDS:
        return Finding("clock", True, "agrees with that of Redis")
    way = "behind" if difference > 0 else "ahead of"
    return Finding(
        "clock",
        False,
        f"is {abs(difference):.0f} s {way} that of Redis; the gateway checks tokens by the clock of this host",
        "let NTP set the clocks of both hosts",
    )
