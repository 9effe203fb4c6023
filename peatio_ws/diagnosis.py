"""What `check` makes of the answers of a broker and of Redis: what is wrong, and what to do about it.

Is told how they answered; does not ask them itself (`checking.py`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from shlex import quote as _word
from typing import Any, Final, NamedTuple

from peatio_ws.findings import Finding

STREAMS_SINCE: Final = (3, 9)
"""Version of RabbitMQ."""
REDIS_SINCE: Final = (7, 0)
"""`SET … NX GET`, by which one worker at a time writes orders."""


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


# ---- connections


def unreachable(server: Server, error: BaseException) -> Finding:
    """A server that could not be connected to, for whatever reason that is not its own answer."""
    name, number, where = type(error).__name__, getattr(error, "errno", None), server.variables
    said = str(error)
    if isinstance(error, ConnectionRefusedError) or "Connection refused" in said:
        text, remedy = "nobody listens there", f"start it, or correct host and port in {where}"
    elif name == "gaierror" or (isinstance(number, int) and number < 0) or "not known" in said:
        text, remedy = "the name of its host is not known", f"correct the host in {where}, or the name service"
    elif isinstance(error, TimeoutError) or name == "TimeoutError":
        text, remedy = "does not answer", f"is it frozen, or is a firewall between? Else correct {where}"
    elif name.startswith("SSL") or "SSL" in said:
        text = f"TLS does not come about ({_line(said)})"
        remedy = f"the scheme in {where} says whether there is TLS (amqps, rediss), and the port has to be that one's"
    else:
        text = f"breaks the connection off ({_line(said) or name})"
        remedy = f"is that its port, and does it want TLS? {where}"
    return Finding(server.what, False, f"{server.place}: {text}", remedy)


def _line(text: str) -> str:
    return " ".join(text.split())[:160]


def refused(server: Server, error: BaseException) -> Finding:
    """A broker that did not let us in."""
    code, said = getattr(error, "reply_code", None), str(error)
    vhost, user = server.vhost, server.user
    if code == 403:
        text = f"refuses the login of {user!r}: wrong user or password"
        remedy = (
            f"correct user and password in {server.variables}; `rabbitmqctl authenticate_user {_word(user)} "
            "PASSWORD` tries them, "
            "`change_password` sets another. RabbitMQ takes guest from its own host only"
        )
    elif code == 530 and "not found" in said:
        text = f"has no virtual host {vhost!r}"
        made = f"`rabbitmqctl list_vhosts` has all, `rabbitmqctl add_vhost {_word(vhost)}` makes it"
        remedy = f"correct it in {server.variables}; {made}"
    elif code == 530 and "refused" in said:
        text = f"does not let {user!r} into the virtual host {vhost!r}"
        remedy = permissions(server)
    else:
        return unreachable(server, error)
    return Finding(server.what, False, f"{server.place}: {text}", remedy)


def permissions(server: Server) -> str:
    """The command that gives the user what the gateway needs."""
    rights = r"'^peatio' '^(peatio_ws|amq\.default)' '^peatio'"
    where = f"-p {_word(server.vhost)} {_word(server.user)}"
    return f"`rabbitmqctl set_permissions {where} {rights}`, if it may have no more than it needs"


def let_in(server: Server, properties: Mapping[str, Any]) -> Finding:
    """A broker that did."""
    what = f"{properties.get('product', 'a broker')} {properties.get('version', '')}".strip()
    return Finding(
        server.what, True, f"{server.place}: {what}, virtual host {server.vhost!r}, as the user {server.user!r}"
    )


# ---- what is on the broker


def exchange(server: Server, name: str, kind: str, durable: bool, there: bool, error: BaseException | None) -> Finding:
    """One of Peatio's exchanges, declared again as the gateway does it."""
    what, wanted = f"exchange {name}", f"{kind}, {_durable(durable)}"
    if error is None:
        return Finding(what, True, wanted if there else f"is not there yet; the gateway will make it ({wanted})")
    found = _INEQUIVALENT.search(str(error))
    if found and found[1] == "durable":
        text = f"is {_durable(not durable)}, and AMQP_EXCHANGES_DURABLE is {str(durable).lower()}"
        return Finding(what, False, text, f"set AMQP_EXCHANGES_DURABLE={str(not durable).lower()}")
    if found and found[1] == "type":
        return Finding(
            what,
            False,
            f"is of the type {found[2]}, not {kind}",
            f"Peatio declares it {kind}: who does not? Delete it (`rabbitmqadmin delete exchange name={name}`, or "
            "on the management page) and let Peatio make it again; or correct the virtual host",
        )
    return _other(server, what, error)


_INEQUIVALENT: Final = re.compile(r"inequivalent arg '([^']+)'.* but current is (?:the value )?'?([^']+)'?")


def _durable(durable: bool) -> str:
    return "durable" if durable else "not durable"


def _other(server: Server, what: str, error: BaseException) -> Finding:
    if getattr(error, "reply_code", None) == 403:
        return Finding(
            what, False, f"{server.user!r} lacks a permission for it ({_line(str(error))})", permissions(server)
        )
    return Finding(
        what, False, _line(str(error)) or type(error).__name__, "the log of the broker may say more about it"
    )


def own_queue(server: Server, error: BaseException | None) -> Finding:
    """A queue like those of a worker: declared, bound and read."""
    if error is None:
        return Finding("queues", True, "can be made, bound and read")
    return _other(server, "queues", error)


def history(server: Server, name: str, version: str, there: bool, error: BaseException | None) -> Finding:
    """The stream of private events.

    Args:
        there: whether a queue of the name is; then `error` is about declaring it again, else about streams.
    """
    what = f"history {name}"
    if error is None:
        return Finding(what, True, "is a stream with the right arguments" if there else "is not there yet; can be made")
    found, code = _INEQUIVALENT.search(str(error)), getattr(error, "reply_code", None)
    if there and code == 406:
        said = f" ({found[1]}: {found[2]})" if found else ""
        return Finding(
            what,
            False,
            f"is a queue with other arguments{said}: each worker keeps a history of its own instead",
            f"`rabbitmqctl delete_queue -p {_word(server.vhost)} {name}`, if nobody needs it; or set "
            "AMQP_HISTORY_QUEUE to another name",
        )
    if code in (406, 540):
        old = _numbers(version) < STREAMS_SINCE
        return Finding(
            what,
            False,
            f"this broker ({version}) has no streams: each worker keeps a history of its own instead",
            f"RabbitMQ {'.'.join(map(str, STREAMS_SINCE))} or later; or AMQP_HISTORY=worker, if that will do"
            if old
            else "`rabbitmqctl enable_feature_flag stream_queue`; or AMQP_HISTORY=worker, if that will do",
        )
    return _other(server, what, error)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])


# ---- Redis


def redis_failed(server: Server, error: BaseException) -> Finding:
    """A store that did not answer as it should."""
    said = str(error)
    if type(error).__name__ == "AuthenticationError" or said.startswith(("NOAUTH", "WRONGPASS")):
        text, remedy = (
            "refuses the login",
            f"correct the password (and user) in {server.variables}: redis://user:password@",
        )
    elif "DB index" in said or "invalid DB" in said:
        text, remedy = "has no database of this number", f"correct the number at the end of {server.variables}"
    elif type(error).__name__ in ("ResponseError", "NoPermissionError"):
        text, remedy = (
            f"refuses a command ({_line(said)})",
            "its user (ACL) needs all commands on peatio:* and peatio_ws:*",
        )
    else:
        return unreachable(server, error)
    return Finding(server.what, False, f"{server.place}: {text}", remedy)


def redis_found(server: Server, version: str | None) -> Finding:
    """One that did; `version` is None where it does not tell."""
    if version and _numbers(version) < REDIS_SINCE:
        needed = ".".join(map(str, REDIS_SINCE))
        return Finding(
            server.what, False, f"{server.place}: is Redis {version}", f"the gateway needs Redis {needed} or later"
        )
    return Finding(server.what, True, f"{server.place}: Redis {version or 'of a version that it does not tell'}")
