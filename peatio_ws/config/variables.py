"""Reads variables that pydantic cannot validate alone: keys, roles, and the parts of the broker's URL.

Each function appends faults to a list, one line each, and returns the value of the valid parts. `settings.py` uses
them, and declares all other variables.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from peatio_ws.auth.jwks import MOST_BYTES, parse_key_set
from peatio_ws.auth.keys import ALGORITHMS, ExposedKey, PublicKey, UnusableKey, load_public_key, usual_algorithm
from peatio_ws.config.host_names import is_host
from peatio_ws.config.validation_errors import shown
from peatio_ws.errors import Fault, FaultCode
from peatio_ws.protocol.stream_syntax import Kind, kind_of

RBAC: Final = "RANGO_RBAC_"
"""The prefix of the variables with the roles of prefixed streams."""
READ_APART: Final = (
    *"JWT_PUBLIC_KEY JWT_PUBLIC_KEYS".split(),
    *"RABBITMQ_HOST RABBITMQ_PORT RABBITMQ_USER RABBITMQ_PASSWORD RABBITMQ_VHOST".split(),
)
"""The other variables that are read here, and are not fields of `Settings`."""


def comma_list(value: Any) -> Any:
    """Split a text at its commas; return any other value unchanged."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def algorithm_of(values: Mapping[str, str]) -> str:
    """Return `JWT_ALGORITHM`, or the usual algorithm of the first key if it is not set. Rango has no such variable."""
    if "JWT_ALGORITHM" in values:
        return values["JWT_ALGORITHM"]
    keys = comma_list(values.get("JWT_PUBLIC_KEY") or values.get("JWT_PUBLIC_KEYS", ""))
    return usual_algorithm(keys[0]) if keys else "RS256"


def read_keys(values: Mapping[str, str], faults: list[Fault]) -> tuple[PublicKey, ...]:
    """Return the keys in `JWT_PUBLIC_KEY` and `JWT_PUBLIC_KEYS` (contract section 4)."""
    algorithm = algorithm_of(values)
    if algorithm not in ALGORITHMS:
        text = f"JWT_ALGORITHM={shown(algorithm)}: is not one of {', '.join(ALGORITHMS)}"
        faults.append(Fault(text, ("JWT_ALGORITHM",)))
        algorithm = ""
    texts = [("JWT_PUBLIC_KEY", values["JWT_PUBLIC_KEY"])] if "JWT_PUBLIC_KEY" in values else []
    texts += [("JWT_PUBLIC_KEYS", part) for part in comma_list(values.get("JWT_PUBLIC_KEYS", ""))]
    sets = [name for name in _SETS if name in values]
    if not texts and not sets:
        text = (
            "JWT_PUBLIC_KEY is not set; set it to the public half of the key that signs sessions (Barong's), as PEM or "
            "base64 of PEM; `peatio-ws keygen` makes a pair for tests"
        )
        faults.append(Fault(text, ("JWT_PUBLIC_KEY",)))
    if len(sets) > 1:
        faults.append(Fault(f"{' and '.join(sets)} are both set; set only one of them", tuple(sets)))
    if sets and algorithm == "HS256":
        text = f"{sets[0]} cannot be used with JWT_ALGORITHM=HS256: a JWK set is public, and a secret must not be"
        faults.append(Fault(text, (sets[0], "JWT_ALGORITHM")))
    keys = []
    for name, text in texts:
        try:
            # Parse the text even if the algorithm is wrong, so that all faults are reported together.
            keys.append(load_public_key(text, algorithm or "RS256"))
        except UnusableKey as error:
            if algorithm:
                faults.append(Fault(f"{name} {error}", (name,), code=FaultCode.KEY_UNUSABLE))
        except ValueError as error:
            if algorithm or isinstance(error, ExposedKey):
                faults.append(Fault(f"{name} {error}", (name,)))
    return tuple(keys)


def file_faults(values: Mapping[str, str]) -> list[Fault]:
    """Return the current faults in the JWK set in `JWT_JWKS_FILE`."""
    path, algorithm = values.get("JWT_JWKS_FILE"), algorithm_of(values)
    if path is None or algorithm not in ALGORITHMS or algorithm == "HS256":
        return []
    text = _file_fault(Path(path), algorithm)
    return [Fault(f"JWT_JWKS_FILE {text}", ("JWT_JWKS_FILE",))] if text else []


def _file_fault(path: Path, algorithm: str) -> str:
    """Return the fault in a file with a JWK set; an empty text if there is none."""
    try:
        with path.open("rb") as file:
            found = parse_key_set(file.read(MOST_BYTES + 1), algorithm)
    except OSError as error:
        return f"cannot be read: {error.strerror}: {shown(path)}"
    except ValueError as error:
        return str(error)
    if found.exposed:
        return f"contains keys that must not be published: {'; '.join(found.exposed)}"
    return "" if found.keys else f"contains no usable key: {'; '.join(found.ignored) or 'it is empty'}"


_SETS = ("JWT_JWKS_URL", "JWT_JWKS_FILE")


def read_roles(values: Mapping[str, str], faults: list[Fault]) -> dict[str, frozenset[str]]:
    """Return the roles by stream prefix, from all variables `RANGO_RBAC_<PREFIX>`."""
    roles = {}
    for name in sorted(values):
        if name.startswith(RBAC):
            prefix = name.removeprefix(RBAC).lower()
            if kind_of(f"{prefix}.id.event") is not Kind.PREFIXED or prefix in _NO_PREFIXES:
                text = f"{name}: {shown(prefix)} is not a prefix; use RANGO_RBAC_ADMIN for streams like admin.id.event"
                faults.append(Fault(text, (name,)))
            roles[prefix] = frozenset(comma_list(values[name]))
    return roles


_NO_PREFIXES = ("private", "public", "global")
"""First words of routing keys that have another meaning."""


def broker_url(values: Mapping[str, str], faults: list[Fault]) -> str:
    """Return the URL of the broker from `RABBITMQ_HOST` and the related variables."""
    port = values.get("RABBITMQ_PORT", "5672")
    if not (re.fullmatch("[0-9]{1,9}", port) and 0 < int(port) <= 65_535):
        faults.append(Fault(f"RABBITMQ_PORT={shown(port)}: is not a port number from 1 to 65535", ("RABBITMQ_PORT",)))
        port = "5672"
    host = values.get("RABBITMQ_HOST", "localhost")
    if not re.fullmatch(r"[A-Za-z0-9._-]+", host) or not is_host(host):
        try:
            host = f"[{ipaddress.IPv6Address(host.strip('[]'))}]"
        except ValueError:
            text = f"RABBITMQ_HOST={shown(host)}: is neither a host name nor an address"
            faults.append(Fault(text, ("RABBITMQ_HOST",)))
            host = "localhost"
    part = functools.partial(quote, safe="")
    return (
        f"amqp://{part(values.get('RABBITMQ_USER', 'guest'))}:{part(values.get('RABBITMQ_PASSWORD', 'guest'))}"
        f"@{host}:{port}/{part(values.get('RABBITMQ_VHOST', '/'))}"
    )
