"""How `check` interprets the answers of a broker and of Redis: what is wrong, and what to do.

Receives the type of an exception and its code; does not ask the servers itself (`broker_check.py`, `redis_check.py`).
The texts of a server are shown, but decide nothing. For problems after the login to a broker, see
`broker_remedies.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from shlex import quote as _word
from typing import Any, Final, NamedTuple

from peatio_ws.cli.check.report import Finding, problem
from peatio_ws.config.tls_errors import BROKER, REDIS, tls_fault
from peatio_ws.errors import ErrorCode

REDIS_SINCE: Final = (4, 0)
"""The first version with `HSET` of several fields, used to share books. Orders are shared from 5.0 on."""


LOGIN_REFUSED: Final = 403
NOT_ALLOWED: Final = 530
"""Reply codes of a broker (AMQP 0-9-1 section 1.2)."""


class Server(NamedTuple):
    """The server that was asked.

    Attributes:
        what: the first column of its findings.
        place: host and port.
        variables: the variables that configure it.
        user, vhost: of a broker.
        encoded: whether user or password look percent-encoded, see `is_encoded`.
    """

    what: str
    place: str
    variables: str
    user: str = ""
    vhost: str = ""
    encoded: bool = False


def is_encoded(text: str) -> bool:
    """Return whether a text contains percent codes like `%2F` (RFC 3986 section 2.1)."""
    return re.search("%[0-9A-Fa-f]{2}", text) is not None


def version_of(text: str) -> tuple[int, ...]:
    """Return the major and minor number of a server's version, for comparisons."""
    return tuple(int(number) for number in re.findall(r"\d+", text)[:2])


# ---- connections


class ConnectionProblem(ErrorCode):
    """Why a server cannot be used, and what to do."""

    NOT_LISTENING = "not_listening", "nothing listens there", "start it, or correct host and port in {variables}"
    HOST_UNKNOWN = (
        "host_unknown",
        "the name of its host cannot be resolved",
        "correct the host in {variables}, or the name service",
    )
    SILENT = "silent", "does not answer", "is it frozen, or blocked by a firewall? If not, correct {variables}"
    NO_TLS = (
        "no_tls",
        "the TLS handshake failed ({said})",
        "the scheme in {variables} selects TLS (amqps, rediss) or none; the port must match it",
    )
    BROKEN_OFF = (
        "broken_off",
        "closes the connection ({said})",
        "is that its port, and does it require TLS? Check {variables}",
    )
    TLS = "tls", "{said}", "{advice}"
    """`config.tls_errors` has the text and the remedy."""
    LOGIN_REFUSED = (
        "login_refused",
        "refuses the login of {user!r}: wrong user or password",
        "correct user and password in {variables}; `rabbitmqctl authenticate_user {user_word} PASSWORD` tests them, "
        "`change_password` sets a new one. RabbitMQ accepts guest from its own host only{literally}",
    )
    VHOST_REFUSED = (
        "vhost_refused",
        "refuses {user!r} access to the virtual host {vhost!r} ({said})",
        "`rabbitmqctl list_vhosts` lists all, `rabbitmqctl add_vhost {vhost_word}` makes it; or correct it in "
        "{variables}, or {permissions}",
    )


_REPLY_CODES: Final = {LOGIN_REFUSED: ConnectionProblem.LOGIN_REFUSED, NOT_ALLOWED: ConnectionProblem.VHOST_REFUSED}


def unreachable(server: Server, error: BaseException) -> Finding:
    """Return the finding of a failed connection, except for refusals by the server itself."""
    if (fault := tls_fault(error, BROKER if server.vhost else REDIS)) is not None:
        fields = {"said": fault.text, "advice": fault.remedy}
        return problem(ConnectionProblem.TLS, server.what, server.place, **fields)
    code, cause = _connection_problem(error)
    said = one_line(str(cause)) or type(cause).__name__
    return problem(code, server.what, server.place, variables=server.variables, said=said)


def _connection_problem(error: BaseException) -> tuple[ConnectionProblem, BaseException]:
    """Return the problem that an exception means, and the exception in its chain that shows it."""
    for cause in _causes(error):
        number, name = getattr(cause, "errno", None), type(cause).__name__
        if isinstance(cause, ConnectionRefusedError):
            return ConnectionProblem.NOT_LISTENING, cause
        if isinstance(number, int) and number < 0:  # the resolver has separate numbers
            return ConnectionProblem.HOST_UNKNOWN, cause
        if isinstance(cause, TimeoutError) or name == "TimeoutError":  # redis-py has one too
            return ConnectionProblem.SILENT, cause
        if name.startswith("SSL"):
            return ConnectionProblem.NO_TLS, cause
    return ConnectionProblem.BROKEN_OFF, error


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and its causes, the newest first."""
    seen: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in seen:
        seen.append(current)
        yield current
        current = current.__cause__ or current.__context__


def one_line(text: str) -> str:
    """Return the text of a server on one line, limited in length."""
    return " ".join(text.split())[:240]


def login_refused(server: Server, error: BaseException) -> Finding:
    """Return the finding of a refused login to a broker."""
    code = _REPLY_CODES.get(getattr(error, "reply_code", None) or 0)
    if code is None:
        return unreachable(server, error)
    fields = {"user": server.user, "vhost": server.vhost, "variables": server.variables, "said": one_line(str(error))}
    words = {"user_word": _word(server.user), "vhost_word": _word(server.vhost), "permissions": permissions(server)}
    words["literally"] = _LITERALLY if server.encoded else ""
    return problem(code, server.what, server.place, **fields, **words)


_LITERALLY: Final = (
    ". The user or the password contains a code like %2F: unlike AMQP_URL, RABBITMQ_PASSWORD is taken literally, so "
    "write the character itself"
)


def permissions(server: Server) -> str:
    """Return the command that grants the user what the gateway needs."""
    rights = r"'^peatio' '^(peatio|amq\.default)' '^peatio'"
    where = f"-p {_word(server.vhost)} {_word(server.user)}"
    return f"`rabbitmqctl set_permissions {where} {rights}`, which grants what the gateway uses"


def connected(server: Server, properties: Mapping[str, Any], heartbeat: float) -> Finding:
    """Return the finding of a successful connection to a broker.

    Args:
        heartbeat: the agreed interval in seconds.
    """
    what = f"{properties.get('product', 'a broker')} {properties.get('version', '')}".strip()
    text = f"{what}, virtual host {server.vhost!r}, as the user {server.user!r}, a heartbeat every {heartbeat:g} s"
    return Finding(server.what, True, f"{server.place}: {text}")


# ---- Redis


def redis_not_set(workers: int) -> Finding:
    """Return the finding that the workers of a gateway have no Redis."""
    if workers == 1:
        return Finding("redis", None, "REDIS_URL is not set: workers share no state")
    text = f"REDIS_URL is not set: the {workers} workers share no limits, order books, orders and member ids"
    return Finding("redis", None, text, "set REDIS_URL to a Redis that all gateways use, or WEB_CONCURRENCY=1")


class RedisProblem(ErrorCode):
    """Why Redis does not answer as expected, and what to do."""

    LOGIN_REFUSED = (
        "login_refused",
        "refuses the login",
        "correct the password (and user) in {variables}: redis://user:password@",
    )
    NO_DATABASE = (
        "no_database",
        "has no database with this number",
        "correct the number at the end of {variables}",
    )
    COMMAND_REFUSED = (
        "command_refused",
        "refuses a command ({said})",
        "its user (ACL) needs all commands on peatio:* and peatio_ws:*",
    )
    TOO_OLD = "too_old", "is Redis {version}", "the gateway needs Redis {needed} or later"
    NO_PRIMARY = (
        "no_primary",
        "no Sentinel names a primary that is up",
        "see the findings above; `redis-cli -p 26379 sentinel masters` shows what a Sentinel knows",
    )


def redis_failed(server: Server, error: BaseException, connecting: bool = False) -> Finding:
    """Return the finding of a Redis that did not answer as expected.

    Args:
        connecting: whether it failed while connecting, which includes the login and the choice of a database.
    """
    code = _REDIS_ERRORS.get((type(error).__name__, connecting))
    if code is None:
        return unreachable(server, error)
    return problem(code, server.what, server.place, variables=server.variables, said=one_line(str(error)))


_REDIS_ERRORS: Final = {
    ("AuthenticationError", True): RedisProblem.LOGIN_REFUSED,
    ("AuthenticationError", False): RedisProblem.LOGIN_REFUSED,
    ("ResponseError", True): RedisProblem.NO_DATABASE,
    ("ResponseError", False): RedisProblem.COMMAND_REFUSED,
    ("NoPermissionError", True): RedisProblem.COMMAND_REFUSED,
    ("NoPermissionError", False): RedisProblem.COMMAND_REFUSED,
    ("MasterNotFoundError", True): RedisProblem.NO_PRIMARY,
    ("MasterNotFoundError", False): RedisProblem.NO_PRIMARY,
}
"""By redis-py's class, and whether the failure was while connecting."""


def redis_found(server: Server, version: str | None) -> Finding:
    """Return the finding of a successful connection to Redis; `version` is None if it is unknown."""
    if version and version_of(version) < REDIS_SINCE:
        needed = ".".join(map(str, REDIS_SINCE))
        return problem(RedisProblem.TOO_OLD, server.what, server.place, version=version, needed=needed)
    return Finding(server.what, True, f"{server.place}: Redis {version or 'of an unknown version'}")
