"""The operator's HTTP interface (contract section 10, `docs/openapi.yaml`): the command line's commands as requests.

Each request becomes one call of the same `Operator` that the command line uses, or of a `Publisher`. Only
`GET /api/worker` asks this worker itself, because it needs no Redis.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Final, NamedTuple, TypeVar

import gevent
import msgspec
import structlog

from peatio_ws.auth.revocations import Name
from peatio_ws.cluster import operator, operator_reports
from peatio_ws.cluster.commands import MOST_CHARACTERS, ClosesCommand, Command, GatewaysCommand
from peatio_ws.cluster.operator import NO_REDIS, CommandResult, NotFound, Operator, TooManyTraces
from peatio_ws.config.settings import Settings
from peatio_ws.errors import PublishError
from peatio_ws.publisher import Publisher
from peatio_ws.server.gateway import Gateway
from peatio_ws.server.operator_port import access
from peatio_ws.server.operator_port.response import Response, error, json_response
from peatio_ws.server.operator_port.trace_stream import TraceStreams
from peatio_ws.transport.http.client_address import client_address

log = structlog.get_logger("peatio_ws.server.operator_port.api")

BODY_SECONDS: Final = 5.0
"""The time limit for a body to arrive."""
PUBLISH_SECONDS: Final = 5.0
"""The time limit for the broker's confirm."""

_HERE: Final = "00000000"
"""The question of commands that do not leave this process."""

T = TypeVar("T")


class DisconnectBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a request to disconnect a member; see `Operator.disconnect`."""

    revoke: bool = False
    jti: Name | None = None


class NoticeBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a request to send a notice."""

    text: Annotated[str, msgspec.Meta(min_length=1, max_length=MOST_CHARACTERS)]
    uid: Name | None = None


class DrainBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a request to drain gateways: `host` (or `host:port`), or `all`."""

    host: Name | None = None
    all: bool = False
    undo: bool = False


class EventBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a request to publish an event: to a member (`uid`, `event`), or to a stream.

    Attributes:
        body: published byte for byte.
    """

    body: msgspec.Raw
    uid: Name | None = None
    event: Name | None = None
    stream: Name | None = None


class Api:
    """The HTTP interface of one worker.

    Args:
        token: `ADMIN_TOKEN`.
    """

    def __init__(self, settings: Settings, token: str) -> None:
        self._settings, self._token = settings, token
        self._publisher: Publisher | None = None
        self._traces = TraceStreams()

    def answer(self, environ: dict[str, Any]) -> Response:
        """Answer a request whose path begins with `/api/`."""
        refused = access.refusal(environ, self._settings, self._token)
        if refused is None:
            method = environ["REQUEST_METHOD"]
            route, name = _find(environ.get("PATH_INFO", ""), method)
            found = route if isinstance(route, Response) else self._call(route, name, environ)
            if method != "GET":
                path = route.path if isinstance(route, Route) else "-"
                address = client_address(environ, self._settings)
                log.info("operator request", method=method, path=path, status=int(found.status[:3]), address=address)
        else:
            found = refused
        return found._replace(headers=(*found.headers, ("Cache-Control", "no-store")))

    def _call(self, route: Route, name: str, environ: dict[str, Any]) -> Response:
        try:
            query = environ.get("QUERY_STRING", "").encode()
            found = route.function(self, name, query if route.method == "GET" else _read_body(environ))
            return found if isinstance(found, Response) else json_response("200 OK", found)
        except NotFound as missing:
            return error("404 Not Found", str(missing))
        except (ConnectionError, PublishError, TooManyTraces) as away:
            return error("503 Service Unavailable", str(away))
        except ValueError as wrong:
            return error("400 Bad Request", str(wrong))

    # ---- requests

    def members(self, _name: str, _body: bytes) -> object:
        """`GET /api/members`."""
        with self._operator() as operators:
            result = operators.who()
        found = {"members": operator_reports.members(result), "anonymous": operator_reports.anonymous(result)}
        return _received(result, found)

    def member(self, uid: str, _body: bytes) -> object:
        """`GET /api/members/<uid>`."""
        with self._operator() as operators:
            result = operators.who(uid, streams=True)
        connections = [operator_reports.connection(one, result.places[one.id], True) for one in result.members]
        return _received(result, {"uid": uid, "connections": connections})

    def disconnect(self, uid: str, body: bytes) -> object:
        """`POST /api/members/<uid>/disconnect`."""
        given = _decode(body, DisconnectBody)
        with self._operator() as operators:
            result = operators.disconnect(uid, given.jti, given.revoke)
        revoked = [operator_reports.revocation(one) for one in result.revocations]
        return _received(result, {"closed": result.connections, "revoked": revoked[0] if revoked else None})

    def revocations(self, _name: str, _body: bytes) -> object:
        """`GET /api/revocations`."""
        with self._operator() as operators:
            return {"revocations": [operator_reports.revocation(one) for one in operators.revocations()]}

    def cancel_revocation(self, name: str, _body: bytes) -> object:
        """`DELETE /api/revocations/<uid or jti>`."""
        with self._operator() as operators:
            result = operators.cancel_revocations(name)
        return _received(result, {"cancelled": [operator_reports.revocation(one) for one in result.revocations]})

    def notify(self, _name: str, body: bytes) -> object:
        """`POST /api/notices`."""
        given = _decode(body, NoticeBody)
        with self._operator() as operators:
            result = operators.notify(given.text, given.uid)
        return _received(result, {"sent": result.connections})

    def drain(self, _name: str, body: bytes) -> object:
        """`POST /api/drain`."""
        given = _decode(body, DrainBody)
        if (given.host is None) is not given.all:
            raise ValueError('use either {"host":NAME} or {"all":true}')
        with self._operator() as operators:
            result = operators.drain(given.host, given.undo)
        return _received(result, {"connections": result.connections})

    def publish(self, _name: str, body: bytes) -> object:
        """`POST /api/events`."""
        given = _decode(body, EventBody)
        if self._publisher is None:
            settings = self._settings
            self._publisher = Publisher(";".join(settings.amqp_urls), settings.amqp_durable, PUBLISH_SECONDS)
        if given.uid is not None and given.event is not None and given.stream is None:
            return {"received": self._publisher.to_member(given.uid, given.event, bytes(given.body))}
        if given.stream is not None and given.uid is None and given.event is None:
            return {"received": self._publisher.to_stream(given.stream, bytes(given.body))}
        raise ValueError('use either "uid" and "event", or "stream"')

    def gateways(self, _name: str, _body: bytes) -> object:
        """`GET /api/gateways`."""
        with self._operator() as operators:
            result = operators.status()
        return _received(result, {"gateways": operator_reports.gateways(result)})

    def closes(self, _name: str, _body: bytes) -> object:
        """`GET /api/closes`."""
        with self._operator() as operators:
            result = operators.closes()
        return _received(result, operator_reports.closes(result))

    def worker(self, _name: str, _body: bytes) -> object:
        """`GET /api/worker`."""
        status, closes = _ask_here(GatewaysCommand(_HERE)), _ask_here(ClosesCommand(_HERE))
        return {"gateways": operator_reports.gateways(status), **operator_reports.closes(closes)}

    def disconnect_connection(self, connection: str, _body: bytes) -> object:
        """`POST /api/connections/<id>/disconnect`."""
        with self._operator() as operators:
            result = operators.disconnect_connection(connection)
        return _received(result, {"closed": result.connections})

    def trace(self, _name: str, query: bytes) -> object:
        """`GET /api/trace`: answered for as long as the trace takes."""
        return self._traces.answer(self._operator, query)

    @contextmanager
    def _operator(self) -> Iterator[Operator]:
        """Connect to Redis. Raises ConnectionError if there is none, or it does not answer."""
        if self._settings.redis_url is None:
            raise ConnectionError(NO_REDIS)
        with operator.connected(self._settings.redis_url) as connected:
            yield connected


class Route(NamedTuple):
    """A kind of request.

    Attributes:
        path: `{name}` stands for any text, with slashes too: the server has decoded `%2F`.
        function: is given the API, the name in the path, and the body; the query of a GET instead.
    """

    method: str
    path: str
    function: Callable[[Api, str, bytes], object]


ROUTES: Final = (
    Route("GET", "/api/members", Api.members),
    Route("GET", "/api/members/{name}", Api.member),
    Route("POST", "/api/members/{name}/disconnect", Api.disconnect),
    Route("GET", "/api/revocations", Api.revocations),
    Route("DELETE", "/api/revocations/{name}", Api.cancel_revocation),
    Route("POST", "/api/notices", Api.notify),
    Route("POST", "/api/drain", Api.drain),
    Route("POST", "/api/events", Api.publish),
    Route("GET", "/api/gateways", Api.gateways),
    Route("GET", "/api/closes", Api.closes),
    Route("GET", "/api/worker", Api.worker),
    Route("POST", "/api/connections/{name}/disconnect", Api.disconnect_connection),
    Route("GET", "/api/trace", Api.trace),
)
_PATTERNS: Final = {route.path: re.compile(route.path.replace("{name}", "(.+)"), re.DOTALL) for route in ROUTES}


def _find(path: str, method: str) -> tuple[Route | Response, str]:
    """Return the route of a request and the name in its path, or the answer if there is none."""
    try:
        path = path.encode("latin-1").decode()
    except UnicodeDecodeError:
        return error("404 Not Found", "the path is not UTF-8"), ""
    found = [(route, match) for route in ROUTES if (match := _PATTERNS[route.path].fullmatch(path))]
    for route, match in found:
        if route.method == method:
            return route, "".join(match.groups())
    if not found:
        return error("404 Not Found", "there is no such request; docs/openapi.yaml lists all"), ""
    allowed = ", ".join(route.method for route, _ in found)
    return error("405 Method Not Allowed", f"use {allowed}", ("Allow", allowed)), ""


def _read_body(environ: dict[str, Any]) -> bytes:
    late = ValueError(f"the body did not arrive within {BODY_SECONDS:g} s")
    try:
        with gevent.Timeout(BODY_SECONDS, late):
            body: bytes = environ["wsgi.input"].read()
    except OSError:
        raise ValueError("the body is incomplete") from None
    return body


def _decode(body: bytes, kind: type[T]) -> T:
    """Decode a body. Raises ValueError, which names the field at fault."""
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except (msgspec.MsgspecError, RecursionError) as wrong:
        raise ValueError(f"the body is not right: {wrong}") from None


def _ask_here(command: Command) -> CommandResult:
    """Carry out a command in this process only."""
    return CommandResult(1, [answer for gateway in Gateway.instances() for answer in gateway.execute(command)])


def _received(result: CommandResult, found: dict[str, Any]) -> object:
    """Add how many workers received a command. Raises ConnectionError if none did."""
    if not result.workers:
        raise ConnectionError("no gateway received the command; are they connected to this Redis?")
    workers = {"workers": len(result.meant), "gateways": result.gateways, "silent": result.silent}
    return {**found, "received_by": workers}
