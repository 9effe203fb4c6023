"""The settings: the environment, validated, as one frozen object.

Contract section 7 has the names, defaults and meanings, and `docs/settings.md` describes them for operators. Only this
package knows the names; all other code uses `Settings`.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Self

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError, model_validator

from peatio_ws.auth.keys import PublicKey
from peatio_ws.auth.verifier import TokenRules
from peatio_ws.config.tls_files import extended
from peatio_ws.config.tls_files import faults as tls_file_faults
from peatio_ws.config.urls import EMBEDDED_BROKER
from peatio_ws.config.validation_errors import SeveralFaults, faults_of
from peatio_ws.config.value_types import (
    AdminToken,
    BrokerUrls,
    CommaList,
    Count,
    History,
    JwksUrl,
    Leeway,
    LogFormat,
    LogLevel,
    Networks,
    Origins,
    Port,
    ProxyHeader,
    ReadableFile,
    RedisUrl,
    Seconds,
)
from peatio_ws.config.variables import (
    RBAC,
    READ_APART,
    algorithm_of,
    broker_url,
    file_faults,
    read_keys,
    read_roles,
)
from peatio_ws.errors import ConfigurationError, Fault
from peatio_ws.errors.base import in_utf8


def _named(*names: str, default: Any = None) -> Any:
    """Return a field that is read from the first of these variables that is set."""
    return Field(default, validation_alias=AliasChoices(*names))


class Settings(BaseModel):
    """The validated settings of a gateway, made by `from_env`. Comments give the units."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    host: str = _named("WEBSOCKET_HOST", "RANGER_HOST", default="0.0.0.0")
    port: Port = _named("WEBSOCKET_PORT", "RANGER_PORT", default=8080)
    unix: str | None = _named("WEBSOCKET_UNIX")
    ssl_key: ReadableFile | None = _named("WEBSOCKET_SSL_KEY")
    ssl_cert: ReadableFile | None = _named("WEBSOCKET_SSL_CERT")
    workers: Annotated[int, Field(ge=1, le=512)] = _named("WEB_CONCURRENCY", default=1)

    amqp_urls: BrokerUrls = _named("AMQP_URL", default=())
    # `tls_files.py` adds the certificate files to the URLs, as parameters.
    amqp_ca_file: Path | None = _named("AMQP_CA_FILE")
    amqp_cert_file: Path | None = _named("AMQP_CERT_FILE")
    amqp_key_file: Path | None = _named("AMQP_KEY_FILE")
    amqp_durable: bool = _named("AMQP_EXCHANGES_DURABLE", default=False)
    history: History = _named("AMQP_HISTORY", default="stream")
    history_queue: Annotated[str, Field(min_length=1, max_length=200)] = _named(
        "AMQP_HISTORY_QUEUE", default="peatio_ws.history"
    )
    resume_seconds: Seconds = _named("WEBSOCKET_RESUME_SECONDS", default=120)
    resume_bytes: Annotated[int, Field(ge=4096, le=2**40)] = _named("WEBSOCKET_RESUME_BYTES", default=64 * 2**20)
    redis_url: RedisUrl | None = _named("REDIS_URL")
    redis_ca_file: Path | None = _named("REDIS_CA_FILE")
    redis_cert_file: Path | None = _named("REDIS_CERT_FILE")
    redis_key_file: Path | None = _named("REDIS_KEY_FILE")
    orderbook_broadcast: bool = _named("ORDERBOOK_BROADCAST", default=False)
    ranger_classic_events: bool = _named("RANGER_CLASSIC_EVENTS", default=True)

    jwt_algorithm: str = _named("JWT_ALGORITHM", default="RS256")
    jwt_keys: tuple[PublicKey, ...] = ()
    jwks_url: JwksUrl | None = _named("JWT_JWKS_URL")
    jwks_file: Path | None = _named("JWT_JWKS_FILE")
    jwks_refresh: Annotated[float, Field(ge=1, le=86_400, allow_inf_nan=False)] = _named("JWT_JWKS_REFRESH", default=30)
    jwt_issuer: str | None = _named("JWT_ISSUER")
    jwt_audience: CommaList = _named("JWT_AUDIENCE", default=())
    jwt_member_id_claim: str = _named("JWT_MEMBER_ID_CLAIM", default="member_id")
    jwt_expiration_leeway: Leeway = _named("JWT_EXPIRATION_LEEWAY", "JWT_DEFAULT_LEEWAY", default=0)  # s
    jwt_not_before_leeway: Leeway = _named("JWT_NOT_BEFORE_LEEWAY", "JWT_DEFAULT_LEEWAY", default=0)  # s
    jwt_issued_at_leeway: Leeway = _named("JWT_ISSUED_AT_LEEWAY", "JWT_DEFAULT_LEEWAY", default=0)  # s
    roles: Mapping[str, frozenset[str]] = {}  # stream prefix to the roles that may subscribe: RANGO_RBAC_<PREFIX>
    jwt_enforce_expiry: bool = _named("JWT_ENFORCE_EXPIRY", default=False)

    cors_origins: Origins = _named("API_CORS_ORIGINS", default=())
    trusted_proxies: Networks = _named("TRUSTED_PROXIES", default=())
    trusted_proxies_header: ProxyHeader | None = _named("TRUSTED_PROXIES_HEADER")
    proxy_protocol: bool = _named("WEBSOCKET_PROXY_PROTOCOL", default=False)

    max_message_bytes: Annotated[int, Field(ge=125, le=2**30)] = _named("WEBSOCKET_MAX_MESSAGE_BYTES", default=16_384)
    compression: bool = _named("WEBSOCKET_COMPRESSION", default=True)
    compression_threshold: Annotated[int, Field(ge=0, le=2**30)] = _named(
        "WEBSOCKET_COMPRESSION_THRESHOLD", default=512
    )  # bytes of a text; see `compression.LEVEL` for what it costs
    outbox_bytes: Annotated[int, Field(ge=4096, le=2**31)] = _named("WEBSOCKET_OUTBOX_BYTES", default=2**20)
    auth_timeout: Seconds = _named("WEBSOCKET_AUTH_TIMEOUT", default=30)
    ping_interval: Seconds = _named("WEBSOCKET_PING_INTERVAL", default=25)
    ping_timeout: Seconds = _named("WEBSOCKET_PING_TIMEOUT", default=60)
    send_timeout: Seconds = _named("WEBSOCKET_SEND_TIMEOUT", default=10)
    handshake_timeout: Seconds = _named("WEBSOCKET_HANDSHAKE_TIMEOUT", default=10)
    message_burst: Annotated[int, Field(ge=1, le=10_000_000)] = _named("WEBSOCKET_MESSAGE_BURST", default=60)
    message_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] = _named("WEBSOCKET_MESSAGE_RATE", default=10)
    max_connections: Annotated[int, Field(ge=1, le=1_000_000)] = _named("WEBSOCKET_MAX_CONNECTIONS", default=10_000)
    max_per_member: Count = _named("WEBSOCKET_MAX_CONNECTIONS_PER_MEMBER", default=100)  # 0: no limit
    max_per_address: Count = _named("WEBSOCKET_MAX_CONNECTIONS_PER_ADDRESS", default=0)  # 0: no limit
    max_failures_per_address: Count = _named(
        "WEBSOCKET_MAX_FAILURES_PER_ADDRESS", default=0
    )  # tokens in a minute; 0: no limit
    max_streams: Count = _named("WEBSOCKET_MAX_STREAMS", default=200)  # a connection
    max_stream_names: Count = _named("WEBSOCKET_MAX_STREAM_NAMES", default=100_000)  # a worker
    books: CommaList = _named("WEBSOCKET_BOOKS", default=())  # names of -snap/-inc pairs; () for any
    max_books: Count = _named("WEBSOCKET_MAX_BOOKS", default=2000)  # a worker
    drain_seconds: Seconds = _named("WEBSOCKET_DRAIN_SECONDS", default=3)
    max_blocking: Annotated[float, Field(ge=0, le=60, allow_inf_nan=False)] = _named(
        "WEBSOCKET_MAX_BLOCKING_SECONDS", default=0.1
    )  # s; 0: not watched
    simulation: bool = _named("WEBSOCKET_SIMULATION", default=False)
    console: bool | None = _named("WEBSOCKET_CONSOLE")  # None: only with a simulation and without an application

    log_level: LogLevel = _named("LOG_LEVEL", default="info")
    log_access: bool = _named("LOG_ACCESS", default=False)
    log_format: LogFormat | None = _named("LOG_FORMAT")
    metrics_host: str = _named("METRICS_HOST", default="127.0.0.1")
    metrics_port: Port = _named("METRICS_PORT", default=4242)
    admin_token: AdminToken | None = _named("ADMIN_TOKEN")
    given: frozenset[str] = frozenset()  # the variables that are set

    @property
    def history_seconds(self) -> float:
        """How long workers keep private events, so that a client may be away for `resume_seconds`.

        When its connection ends, its last cursor may be a third of that old (`resumption.py`), and the event of that
        cursor up to 20 s older (`MARKED_WITHIN` of `history_stream/source.py`).
        """
        return self.resume_seconds * 4 / 3 + 20.0

    @property
    def embedded(self) -> bool:
        """Whether broker and shared state are inside this process."""
        return self.amqp_urls == (EMBEDDED_BROKER,)

    @property
    def token_rules(self) -> TokenRules:
        """The rules for valid tokens."""
        return TokenRules(
            algorithm=self.jwt_algorithm,
            keys=self.jwt_keys,
            jwks_url=self.jwks_url,
            jwks_file=self.jwks_file,
            jwks_refresh=self.jwks_refresh,
            issuer=self.jwt_issuer,
            audience=self.jwt_audience,
            member_id_claim=self.jwt_member_id_claim,
            expiration_leeway=self.jwt_expiration_leeway,
            not_before_leeway=self.jwt_not_before_leeway,
            issued_at_leeway=self.jwt_issued_at_leeway,
        )

    @model_validator(mode="after")
    def _pairs(self) -> Self:
        faults = []
        pair = ("WEBSOCKET_SSL_KEY", "WEBSOCKET_SSL_CERT")
        if (self.ssl_key is None) != (self.ssl_cert is None):
            faults.append(Fault(f"{' and '.join(pair)} go together; one of them is missing", pair))
        elif self.ssl_key and self.ssl_cert:
            try:
                ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.ssl_cert, self.ssl_key, password="")
            except (ssl.SSLError, OSError):
                text = "are not a matching pair of PEM key (without a passphrase) and certificate"
                faults.append(Fault(f"{' and '.join(pair)} {text}", pair))
        if self.embedded and self.workers > 1:
            text = "WEB_CONCURRENCY has to be 1, because workers cannot share the in-process broker"
            faults.append(Fault(text, ("WEB_CONCURRENCY",), "set AMQP_URL to your RabbitMQ"))
        if self.simulation and not self.embedded:
            text = f"WEBSOCKET_SIMULATION requires AMQP_URL={EMBEDDED_BROKER}; it is never for a real exchange"
            faults.append(Fault(text, ("WEBSOCKET_SIMULATION",)))
        if self.proxy_protocol and not self.trusted_proxies:
            both = ("WEBSOCKET_PROXY_PROTOCOL", "TRUSTED_PROXIES")
            faults.append(Fault(f"{both[0]} requires {both[1]}: the addresses of the load balancers", both))
        if self.ping_interval >= self.ping_timeout:
            pings = ("WEBSOCKET_PING_INTERVAL", "WEBSOCKET_PING_TIMEOUT")
            faults.append(Fault(" has to be less than ".join(pings), pings))
        if self.port and self.port == self.metrics_port and not self.unix:
            both = ("WEBSOCKET_PORT", "METRICS_PORT")
            faults.append(Fault(f"{' and '.join(both)} have to differ", both))
        if faults:
            raise SeveralFaults(faults)
        return self

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, at_start: bool = False) -> Settings:
        """Read and validate the environment.

        Args:
            environ: replaces `os.environ`. An empty variable counts as not set.
            at_start: check the content of certificate and key files, too. Workers skip this check, because a file may
                be half written while they start.

        Raises:
            ConfigurationError: contains all faults, one line each.
        """
        faults: list[Fault] = []
        values = _given(environ, faults)
        values["jwt_keys"] = read_keys(values, faults)
        values["JWT_ALGORITHM"] = algorithm_of(values)
        values["roles"] = read_roles(values, faults)
        if at_start:
            faults += file_faults(values)
        if "AMQP_URL" not in values:
            values["AMQP_URL"] = broker_url(values, faults)
        if at_start:
            faults += tls_file_faults(values)
        return cls._checked(values, faults)

    @classmethod
    def limits_from_env(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Read the environment without keys and broker, for applications that only use the transport.

        See `examples/echo.py`.
        """
        faults: list[Fault] = []
        return cls._checked(_given(environ, faults), faults)

    @classmethod
    def _checked(cls, values: dict[str, Any], faults: list[Fault]) -> Settings:
        settings, wrong, values = None, set[str](), {**values, **extended(values), "given": frozenset(values)}
        try:
            settings = cls.model_validate(values)
        except ValidationError as error:
            faults += faults_of(error)
            wrong = {str(fault["loc"][0]) for fault in error.errors() if fault["loc"]}
        if wrong:
            # Checks of several variables run on valid ones only. Report their faults if they name no invalid variable.
            try:
                cls.model_validate({name: value for name, value in values.items() if name not in wrong})
            except ValidationError as error:
                faults += [fault for fault in faults_of(error) if not wrong.intersection(fault.variables)]
        if faults or settings is None:
            raise ConfigurationError(sorted(set(faults)))
        return settings

    def __repr__(self) -> str:
        return f"<Settings {self.host}:{self.port}>"  # URLs hold passwords

    __str__ = __repr__


def _names() -> frozenset[str]:
    names = {
        str(choice)
        for field in Settings.model_fields.values()
        if isinstance(field.validation_alias, AliasChoices)
        for choice in field.validation_alias.choices
    }
    return frozenset(names.union(READ_APART))


NAMES: Final = _names()
"""The variables that are read here, except the family of `RBAC`."""


def _given(environ: Mapping[str, str] | None, faults: list[Fault]) -> dict[str, Any]:
    """Return the variables that are not empty, in UTF-8. Python keeps bytes of another encoding as surrogates
    (PEP 383), which neither servers nor libraries accept. Append a fault for each of the gateway's that contains some.
    """
    values = os.environ if environ is None else environ
    texts = {name: in_utf8(value) for name, value in values.items() if value.strip()}
    wrong = [name for name in texts if texts[name] != values[name] and (name in NAMES or name.startswith(RBAC))]
    faults += [Fault(f"{name} is not valid UTF-8", (name,)) for name in wrong]
    return texts
