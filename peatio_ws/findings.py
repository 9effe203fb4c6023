"""What `check` finds, as rows of a table: the settings, the keys, a token and this machine, in words.

Is told what there is; looks at nothing itself (`checking.py`). Broker and Redis are `diagnosis.py`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import jwt

from peatio_ws.auth import Verifier
from peatio_ws.errors import AuthenticationError
from peatio_ws.faults import shown
from peatio_ws.jwks import KeySet, shown_kid
from peatio_ws.keys import description
from peatio_ws.settings import Settings

CLOCK_SECONDS: Final = 2.0
"""By how much two clocks may differ."""
FILES_BESIDE: Final = 300
"""Files that a worker may need beside its connections: those that are being refused, broker, Redis, logs, metrics."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A row of the table.

    Attributes:
        what: was looked at.
        well: None where there is nothing to be right or wrong.
        text: what was found.
        remedy: what to do.
    """

    what: str
    well: bool | None
    text: str
    remedy: str = ""

    @property
    def mark(self) -> str:
        """In a few letters."""
        return {True: "ok", False: "WRONG", None: "-"}[self.well]


# ---- settings


def faulty(fault: str) -> Finding:
    """A fault of the environment."""
    if "cannot use" in fault:
        return Finding("settings", False, fault, _KIND)
    return Finding("settings", False, fault, "correct it: docs/settings.md says what it may be")


_KIND: Final = (
    "JWT_ALGORITHM is what the issuer (Barong) signs with, and the key has to be of its kind: RSA for RS and PS, EC "
    "P-256 for ES256, P-384 for ES384, P-521 for ES512, Ed25519 for EdDSA"
)


# ---- keys


def fixed_keys(settings: Settings) -> list[Finding]:
    """Those of the environment."""
    return [Finding("key", True, f"of the environment: {description(key)}") for key in settings.jwt_keys]


def published_keys(place: str, found: KeySet) -> list[Finding]:
    """Those of a set, and what is in it beside them."""
    findings = [
        Finding("key", True, f"{place}: {shown_kid(named.kid)}, {description(named.key)}") for named in found.keys
    ]
    findings += [Finding("key", None, f"{place}: {line}") for line in found.ignored]
    findings += [Finding("key", False, f"{place}: {line}", "take it out of the set") for line in found.exposed]
    if not found.keys:
        findings.append(
            Finding("key", False, f"{place}: holds no key that can be used", f"publish a public key there; {_KIND}")
        )
    return findings


def no_set(place: str, reason: str) -> Finding:
    """A set that cannot be read."""
    return Finding("key", False, f"{place}: {reason}", f"correct {place.partition('=')[0]}, or let its issuer answer")


# ---- a token


def token(verifier: Verifier, settings: Settings, text: str, now: float) -> Finding:
    """Whether a token would be accepted at a time, in Unix seconds; if not, why, and what of it is to blame."""
    text = text.strip().removeprefix("Bearer ").strip()
    try:
        found = verifier.verify(text, now)
    except AuthenticationError as error:
        word = str(error).split()[0]
        blame = _blame(word, *_looked_at(text), settings, verifier, now)
        said = f"is refused: {error}{f' ({blame})' if blame else ''}"
        return Finding("token", False, said, _REMEDIES.get(word, _OTHERWISE))
    member = f", member id {found.member_id}" if found.member_id is not None else ""
    role = f", role {shown(found.role)}" if found.role else ""
    return Finding(
        "token", True, f"is good for uid {shown(found.uid)}{member}{role}, until {_time(found.expires, now)}"
    )


def _looked_at(text: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """What a token says, true or not."""
    try:
        return jwt.get_unverified_header(text), jwt.decode(text, options={"verify_signature": False})
    except (jwt.PyJWTError, TypeError, ValueError, RecursionError):
        return {}, {}


def _blame(
    word: str, header: Mapping[str, Any], claims: Mapping[str, Any], settings: Settings, verifier: Verifier, now: float
) -> str:
    """What of a token is to blame, for the first word of the verifier's reason."""
    kid = header.get("kid")
    named = "it names no key" if kid is None else f"its kid is {shown_kid(str(kid))}"
    if word in _TIMES:
        return _time(claims.get(_TIMES[word]), now)
    if word in _WANTED:
        claim, variable, wanted = _WANTED[word](settings)
        given = header.get(claim) if claim == "alg" else claims.get(claim)
        return f"it is {shown(given)}{f', {variable} is {wanted}' if variable else ''}"
    if word == "signature":
        return f"another key signed it; {named}"
    if word == "kid":
        return f"{named}; there are {', '.join(shown_kid(key.kid) for key in verifier.ring.published)}"
    return ""


_TIMES: Final = {"expired": "exp", "issued": "iat", "not": "nbf"}
_WANTED: Final[Mapping[str, Callable[[Settings], tuple[str, str, object]]]] = {
    "algorithm": lambda settings: ("alg", "JWT_ALGORITHM", settings.jwt_algorithm),
    "audience": lambda settings: ("aud", "JWT_AUDIENCE", ",".join(settings.jwt_audience)),
    "issuer": lambda settings: ("iss", "JWT_ISSUER", settings.jwt_issuer),
    "subject": lambda _: ("sub", "", ""),
    "state": lambda _: ("state", "", ""),
}
_CLOCKS: Final = "let NTP set the clocks here and at its issuer"
_OTHERWISE: Final = "its issuer (Barong) has to make it otherwise; `python -m peatio_ws token` makes whole ones"
_REMEDIES: Final = {
    "expired": "take a fresh one: Barong makes one at each login; JWT_EXPIRATION_LEEWAY gives some seconds more",
    "issued": f"{_CLOCKS}; or JWT_ISSUED_AT_LEEWAY",
    "not": f"{_CLOCKS}; or JWT_NOT_BEFORE_LEEWAY",
    "signature": "JWT_PUBLIC_KEY, or the set, has to hold the public half of what its issuer (Barong) signs with",
    "kid": "its issuer has to publish that key, best a minute before it signs with it",
    "no": "see the rows above: the set of keys cannot be read, or holds none",
    "algorithm": "JWT_ALGORITHM has to be what its issuer signs with, and the key of that kind",
    "audience": "JWT_AUDIENCE has to name one that it is for",
    "issuer": "JWT_ISSUER has to be its issuer",
    "subject": "take a session token; an API key's is none",
    "state": "the member is not active at its issuer (Barong)",
    "claim": f"{_OTHERWISE}; iss and aud are asked for by JWT_ISSUER and JWT_AUDIENCE",
    "malformed": "is it whole, and in quotes? A token is three parts of base64 with dots between",
}
"""What to do, by the first word of the verifier's reason."""


def _time(value: object, now: float) -> str:
    """A time in Unix seconds for people, and how far from now that is."""
    try:
        seconds = float(str(value))
        text = datetime.fromtimestamp(seconds, UTC).isoformat(sep=" ", timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return shown(value)
    distance = timedelta(seconds=round(abs(seconds - now)))
    return f"{text.removesuffix('+00:00')} UTC, {distance} {'ago' if seconds <= now else 'from now'}"


# ---- this machine


def files(settings: Settings, soft: int, hard: int, host: int | None) -> Finding:
    """Open files: what a process may have, and the host, beside what the settings may come to."""
    most = settings.max_connections
    a_worker = most + FILES_BESIDE
    every = a_worker * settings.workers
    text = f"a process may have {soft}; a worker may need {a_worker} (WEBSOCKET_MAX_CONNECTIONS={most})"
    fewer = f"or WEBSOCKET_MAX_CONNECTIONS={max(1, soft - FILES_BESIDE)}"
    if soft < a_worker:
        as_root = f", as root, for the hard limit is {hard}" if hard < a_worker else ""
        remedy = (
            f"`ulimit -n {a_worker}` before it is started{as_root} (LimitNOFILE={a_worker} in a systemd unit); {fewer}"
        )
        return Finding("open files", False, text, remedy)
    if host is not None and host < every:
        text = f"this host may have {host}; {settings.workers} workers may need {every}"
        return Finding("open files", False, text, f"`sysctl fs.file-max={2 * every}`; or fewer connections or workers")
    return Finding("open files", True, text)


def clock(difference: float) -> Finding:
    """This host's beside that of Redis: Redis minus ours, in seconds."""
    if abs(difference) <= CLOCK_SECONDS:
        return Finding("clock", True, "agrees with that of Redis")
    way = "behind" if difference > 0 else "ahead of"
    return Finding(
        "clock",
        False,
        f"is {abs(difference):.0f} s {way} that of Redis; tokens begin and end by the clock here",
        "let NTP set the clocks of both hosts",
    )
