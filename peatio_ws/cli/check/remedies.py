"""What `check` makes of the answers of a broker and of Redis: what is wrong, and what to do about it.

Is told the type of the exception and the code in it; does not ask the servers itself (`broker_probe.py`,
`redis_check.py`). No text of a server decides anything: it is shown. What is on a broker that lets us in is
`broker_remedies.py`'s.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from shlex import quote as _word
from typing import Any, Final, NamedTuple

from peatio_ws.cli.check.report import Finding
from peatio_ws.config.tls_errors import BROKER, REDIS, tls_fault

REDIS_SINCE: Final = (4, 0)
"""`HSET` with several fields, by which workers give each other books. Orders are shared from 5.0 on."""


LOGIN_REFUSED: Final = 403
NOT_ALLOWED: Final = 530
"""Reply codes of a broker (AMQP 0-9-1 section 1.2)."""


class Server(NamedTuple):
    """Who was asked.

    Attributes:
        what: of its findings.
        place: host and port.
        variables: where to set it.
        user, vhost: of a broker.
    """

    what: str
    place: str
    variables: str
    user: str = ""
    vhost: str = ""


def version_of(text: str) -> tuple[int, ...]:
    """Major and minor number of a server's version, to be compared."""
    return tuple(int(number) for number in re.findall(r"\d+", text)[:2])


# ---- connections


def unreachable(server: Server, error: BaseException) -> Finding:
    """A server that could not be connected to, for whatever reason that is not its own answer."""
    where = server.variables
    if (fault := tls_fault(error, BROKER if server.vhost else REDIS)) is not None:
        return Finding(server.what, False, f"{server.place}: {fault.text}", fault.remedy)
    for cause in _causes(error):
        number, name = getattr(cause, "errno", None), type(cause).__name__
        if isinstance(cause, ConnectionRefusedError):
            text, remedy = "nobody listens there", f"start it, or correct host and port in {where}"
        elif isinstance(number, int) and number < 0:  # of the resolver, which has its own numbers
            text, remedy = "the name of its host is not known", f"correct the host in {where}, or the name service"
        elif isinstance(cause, TimeoutError) or name == "TimeoutError":  # redis-py has one too
            text, remedy = "does not answer", f"is it frozen, or is a firewall between? Else correct {where}"
        elif name.startswith("SSL"):
            text = f"TLS does not come about ({one_line(str(cause))})"
            remedy = (
                f"the scheme in {where} says whether there is TLS (amqps, rediss), and the port has to be that one's"
            )
        else:
            continue
        break
    else:
        text = f"breaks the connection off ({one_line(str(error)) or type(error).__name__})"
        remedy = f"is that its port, and does it want TLS? {where}"
    return Finding(server.what, False, f"{server.place}: {text}", remedy)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An exception and those that it came of, the newest first."""
    seen: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in seen:
        seen.append(current)
        yield current
        current = current.__cause__ or current.__context__


def one_line(text: str) -> str:
    """A server's words as they may be shown."""
    return " ".join(text.split())[:240]


def refused(server: Server, error: BaseException) -> Finding:
    """A broker that did not let us in."""
    code = getattr(error, "reply_code", None)
    vhost, user = server.vhost, server.user
    if code == LOGIN_REFUSED:
        text = f"refuses the login of {user!r}: wrong user or password"
        remedy = (
            f"correct user and password in {server.variables}; `rabbitmqctl authenticate_user {_word(user)} "
            "PASSWORD` tries them, "
            "`change_password` sets another. RabbitMQ takes guest from its own host only"
        )
    elif code == NOT_ALLOWED:
        text = f"does not let {user!r} into the virtual host {vhost!r} ({one_line(str(error))})"
        remedy = (
            f"`rabbitmqctl list_vhosts` has all, `rabbitmqctl add_vhost {_word(vhost)}` makes it; else correct it in "
            f"{server.variables}, or {permissions(server)}"
        )
    else:
        return unreachable(server, error)
    return Finding(server.what, False, f"{server.place}: {text}", remedy)


def permissions(server: Server) -> str:
    """The command that gives the user what the gateway needs."""
    rights = r"'^peatio' '^(peatio_ws|amq\.default)' '^peatio'"
    where = f"-p {_word(server.vhost)} {_word(server.user)}"
    return f"`rabbitmqctl set_permissions {where} {rights}`, if it may have no more than it needs"


def let_in(server: Server, properties: Mapping[str, Any], heartbeat: float) -> Finding:
    """A broker that did.

    Args:
        heartbeat: seconds between two of them, as was agreed.
    """
    what = f"{properties.get('product', 'a broker')} {properties.get('version', '')}".strip()
    text = f"{what}, virtual host {server.vhost!r}, as the user {server.user!r}, a heartbeat every {heartbeat:g} s"
    return Finding(server.what, True, f"{server.place}: {text}")


# ---- Redis


def redis_failed(server: Server, error: BaseException, connecting: bool = False) -> Finding:
    """A store that did not answer as it should.

    Args:
        connecting: it happened while the connection was opened, which is a login and the choice of a database.
    """
    kind = type(error).__name__
    if kind == "AuthenticationError":
        text, remedy = (
            "refuses the login",
            f"correct the password (and user) in {server.variables}: redis://user:password@",
        )
    elif kind == "ResponseError" and connecting:
        text, remedy = "has no database of this number", f"correct the number at the end of {server.variables}"
    elif kind in ("ResponseError", "NoPermissionError"):
        text, remedy = (
            f"refuses a command ({one_line(str(error))})",
            "its user (ACL) needs all commands on peatio:* and peatio_ws:*",
        )
    else:
        return unreachable(server, error)
    return Finding(server.what, False, f"{server.place}: {text}", remedy)


def redis_found(server: Server, version: str | None) -> Finding:
    """One that did; `version` is None where it does not tell."""
    if version and version_of(version) < REDIS_SINCE:
        needed = ".".join(map(str, REDIS_SINCE))
        return Finding(
            server.what, False, f"{server.place}: is Redis {version}", f"the gateway needs Redis {needed} or later"
        )
    return Finding(server.what, True, f"{server.place}: Redis {version or 'of a version that it does not tell'}")
