"""The environment: names, defaults, and faults that are reported all at once."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from peatio_ws.auth.keys import private_pem
from peatio_ws.config.settings import Settings
from peatio_ws.errors import ConfigurationError
from tests.unit.config.faulty import FAULTY, faults
from tests.unit.samples import environment, private_key, settings

DEFAULTS: dict[str, tuple[str, Any]] = {
    "WEBSOCKET_HOST": ("host", "0.0.0.0"),
    "WEBSOCKET_PORT": ("port", 8080),
    "WEBSOCKET_UNIX": ("unix", None),
    "WEBSOCKET_SSL_KEY": ("ssl_key", None),
    "WEBSOCKET_SSL_CERT": ("ssl_cert", None),
    "WEB_CONCURRENCY": ("workers", 1),
    "AMQP_URL": ("amqp_urls", ("amqp://guest:guest@localhost:5672/%2F",)),
    "AMQP_EXCHANGES_DURABLE": ("amqp_durable", False),
    "REDIS_URL": ("redis_url", None),
    "ORDERBOOK_BROADCAST": ("orderbook_broadcast", False),
    "JWT_ALGORITHM": ("jwt_algorithm", "RS256"),
    "JWT_ISSUER": ("jwt_issuer", None),
    "JWT_AUDIENCE": ("jwt_audience", ()),
    "JWT_MEMBER_ID_CLAIM": ("jwt_member_id_claim", "member_id"),
    "JWT_EXPIRATION_LEEWAY": ("jwt_expiration_leeway", 0),
    "JWT_NOT_BEFORE_LEEWAY": ("jwt_not_before_leeway", 0),
    "JWT_ISSUED_AT_LEEWAY": ("jwt_issued_at_leeway", 0),
    "JWT_ENFORCE_EXPIRY": ("jwt_enforce_expiry", False),
    "API_CORS_ORIGINS": ("cors_origins", ()),
    "TRUSTED_PROXIES": ("trusted_proxies", ()),
    "TRUSTED_PROXIES_HEADER": ("trusted_proxies_header", None),
    "WEBSOCKET_PROXY_PROTOCOL": ("proxy_protocol", False),
    "WEBSOCKET_MAX_MESSAGE_BYTES": ("max_message_bytes", 16_384),
    "WEBSOCKET_OUTBOX_BYTES": ("outbox_bytes", 2**20),
    "WEBSOCKET_AUTH_TIMEOUT": ("auth_timeout", 30),
    "WEBSOCKET_PING_INTERVAL": ("ping_interval", 25),
    "WEBSOCKET_PING_TIMEOUT": ("ping_timeout", 60),
    "WEBSOCKET_SEND_TIMEOUT": ("send_timeout", 10),
    "LOG_LEVEL": ("log_level", "info"),
    "LOG_FORMAT": ("log_format", None),
    "METRICS_HOST": ("metrics_host", "127.0.0.1"),
    "METRICS_PORT": ("metrics_port", 4242),
}

GIVEN: list[tuple[str, str, Any]] = [
    ("WEBSOCKET_HOST", "::1", "::1"),
    ("WEBSOCKET_PORT", "443", 443),
    ("WEBSOCKET_UNIX", "ws.sock", "ws.sock"),
    ("WEB_CONCURRENCY", "4", 4),
    ("AMQP_URL", "amqps://u:p@a/v", ("amqps://u:p@a/v",)),
    ("AMQP_URL", "amqp://a ; amqp://b:5673/", ("amqp://a", "amqp://b:5673/")),
    ("AMQP_EXCHANGES_DURABLE", "true", True),
    ("REDIS_URL", "rediss://u:p@r:6380/1", "rediss://u:p@r:6380/1"),
    ("ORDERBOOK_BROADCAST", "true", True),
    ("JWT_ISSUER", "barong", "barong"),
    ("JWT_AUDIENCE", "peatio, barong", ("peatio", "barong")),
    ("JWT_MEMBER_ID_CLAIM", "mid", "mid"),
    ("JWT_EXPIRATION_LEEWAY", "1.5", 1.5),
    ("JWT_ENFORCE_EXPIRY", "true", True),
    ("API_CORS_ORIGINS", "https://a.example,b.example", ("https://a.example", "b.example")),
    ("API_CORS_ORIGINS", "https://*.a.example,*", ("https://*.a.example", "*")),
    ("TRUSTED_PROXIES_HEADER", "Forwarded", "forwarded"),
    ("TRUSTED_PROXIES_HEADER", "X-Forwarded-For", "x-forwarded-for"),
    ("WEBSOCKET_MAX_MESSAGE_BYTES", "65536", 65_536),
    ("WEBSOCKET_OUTBOX_BYTES", "65536", 65_536),
    ("WEBSOCKET_AUTH_TIMEOUT", "5", 5),
    ("WEBSOCKET_PING_TIMEOUT", "30", 30),
    ("WEBSOCKET_SEND_TIMEOUT", "0.5", 0.5),
    ("LOG_LEVEL", "WARNING", "warning"),
    ("LOG_FORMAT", "JSON", "json"),
    ("METRICS_HOST", "0.0.0.0", "0.0.0.0"),
    ("METRICS_PORT", "9000", 9000),
]


@pytest.mark.parametrize("variable", DEFAULTS)
@pytest.mark.parametrize("nothing", [None, "", "  "])
def test_unset_or_empty_variable_has_its_default(variable: str, nothing: str | None) -> None:
    field, default = DEFAULTS[variable]
    found = settings() if nothing is None else settings(**{variable: nothing})
    assert getattr(found, field) == default


@pytest.mark.parametrize(("variable", "text", "value"), GIVEN)
def test_set_variable_is_used(variable: str, text: str, value: Any) -> None:
    assert getattr(settings(**{variable: text}), DEFAULTS[variable][0]) == value


@pytest.mark.parametrize(("name", "field", "value"), [("HOST", "host", "10.0.0.1"), ("PORT", "port", "81")])
def test_older_name_is_used_if_the_newer_is_not_set(name: str, field: str, value: str) -> None:
    older, newer = f"RANGER_{name}", f"WEBSOCKET_{name}"
    assert str(getattr(settings(**{older: value}), field)) == value
    assert str(getattr(settings(**{older: value, newer: ""}), field)) == value
    assert str(getattr(settings(**{older: "82", newer: value}), field)) == value


@pytest.mark.parametrize("which", ["expiration", "not_before", "issued_at"])
def test_default_leeway_is_used_for_unset_leeways(which: str) -> None:
    field, own = f"jwt_{which}_leeway", f"JWT_{which.upper()}_LEEWAY"
    assert getattr(settings(JWT_DEFAULT_LEEWAY="7"), field) == 7
    assert getattr(settings(**{"JWT_DEFAULT_LEEWAY": "7", own: "0"}), field) == 0


def test_proxy_protocol_needs_to_know_the_proxies() -> None:
    assert settings(WEBSOCKET_PROXY_PROTOCOL="true", TRUSTED_PROXIES="10.0.0.0/8").proxy_protocol
    (line,) = faults(environment(WEBSOCKET_PROXY_PROTOCOL="true"))
    assert line == "WEBSOCKET_PROXY_PROTOCOL requires TRUSTED_PROXIES: the addresses of the load balancers"


SECRET = "correcthorsebattery"


def test_private_key_is_refused_and_not_shown() -> None:
    pem = private_pem(private_key()).decode()
    for algorithm in ("RS256", "ES256", "nonsense"):
        reported = "\n".join(faults({"JWT_PUBLIC_KEY": pem, "JWT_ALGORITHM": algorithm}))
        assert "JWT_PUBLIC_KEY is a private key" in reported
        assert not [line for line in pem.splitlines()[1:-1] if line in reported]


def test_settings_show_no_secret_and_cannot_be_changed() -> None:
    found = Settings.from_env(
        {
            "JWT_ALGORITHM": "HS256",
            "JWT_PUBLIC_KEY": f"{SECRET} and some more of it",
            "AMQP_URL": f"amqp://u:{SECRET}@h/",
            "REDIS_URL": f"redis://:{SECRET}@h/",
        }
    )
    assert SECRET not in f"{found} {found!r} {[found]}"
    with pytest.raises(ValueError):
        found.port = 1


def test_a_client_may_send_at_least_one_message() -> None:
    """0 is no limit in other settings; here each client would be closed with 1008 at its first message."""
    assert settings(WEBSOCKET_MESSAGE_BURST="1").message_burst == 1
    (line,) = faults(environment(WEBSOCKET_MESSAGE_BURST="0"))
    assert line == "WEBSOCKET_MESSAGE_BURST=0: has to be 1 or more"


@pytest.mark.parametrize(
    "name", ["RABBITMQ_PASSWORD", "AMQP_URL", "REDIS_URL", "WEBSOCKET_SSL_KEY", "JWT_PUBLIC_KEY", "RANGO_RBAC_ADMIN"]
)
def test_value_that_is_not_valid_utf_8_is_a_fault(name: str) -> None:
    """Python keeps a byte of another encoding as half of a surrogate pair (PEP 383)."""
    value = {"AMQP_URL": "amqp://u:p\udce9@h/", "REDIS_URL": "redis://:p\udce9@h/0"}.get(name, "p\udce9")
    lines = faults({**environment(), name: value, "LS_COLORS": "\udce9", "RABBITMQ_DEFAULT_PASS": "\udce9"})
    assert f"{name} is not valid UTF-8" in lines
    assert all(line.startswith(name) and line.isprintable() for line in lines)
    with pytest.raises(ConfigurationError, match="WEBSOCKET_UNIX is not valid UTF-8"):
        Settings.limits_from_env({"WEBSOCKET_UNIX": "p\udce9"})


def test_ping_timeout_has_to_exceed_the_ping_interval() -> None:
    (line,) = faults(environment(WEBSOCKET_PING_INTERVAL="60"))
    assert "WEBSOCKET_PING_INTERVAL" in line
    assert "WEBSOCKET_PING_TIMEOUT" in line


def test_the_in_process_broker_serves_one_worker() -> None:
    assert settings(AMQP_URL="memory://").embedded
    assert not settings().embedded
    (line,) = faults(environment(AMQP_URL="memory://", WEB_CONCURRENCY="2"))
    assert line.startswith("WEB_CONCURRENCY")


def certificate(folder: Path, number: int) -> tuple[str, str]:
    """Return files of a key and of its self-signed certificate."""
    key = private_key("ES256", number)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gateway.example")])
    start = datetime(2024, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(start).not_valid_after(start + timedelta(days=36_500))
    (folder / f"{number}.key").write_bytes(private_pem(key))
    signed = builder.sign(key, hashes.SHA256())  # type: ignore[arg-type]
    (folder / f"{number}.crt").write_bytes(signed.public_bytes(Encoding.PEM))
    return str(folder / f"{number}.key"), str(folder / f"{number}.crt")


def test_a_tls_key_and_its_certificate_go_together(tmp_path: Path) -> None:
    key, cert = certificate(tmp_path, 0)
    _, other = certificate(tmp_path, 1)
    found = settings(WEBSOCKET_SSL_KEY=key, WEBSOCKET_SSL_CERT=cert)
    assert (str(found.ssl_key), str(found.ssl_cert)) == (key, cert)
    for broken in (
        {"WEBSOCKET_SSL_KEY": key},
        {"WEBSOCKET_SSL_CERT": cert},
        {"WEBSOCKET_SSL_KEY": key, "WEBSOCKET_SSL_CERT": other},
        {"WEBSOCKET_SSL_KEY": cert, "WEBSOCKET_SSL_CERT": cert},
    ):
        (line,) = faults(environment(**broken))
        assert "WEBSOCKET_SSL_KEY" in line
        assert "WEBSOCKET_SSL_CERT" in line


def test_process_environment_is_read_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment(WEBSOCKET_PORT="8181").items():
        monkeypatch.setenv(name, value)
    assert Settings.from_env().port == 8181


@given(st.dictionaries(st.sampled_from(sorted({*DEFAULTS, *FAULTY})), st.text(max_size=20), max_size=5))
def test_any_environment_is_accepted_or_reported_with_faults(environ: dict[str, str]) -> None:
    reported = ["NOTHING"]
    try:
        Settings.from_env(environment(**environ))
    except ConfigurationError as error:
        reported = [str(fault) for fault in error.faults]
    assert reported
    assert all(re.match(r"[A-Z_]+", fault) for fault in reported)


@pytest.mark.parametrize(
    ("given", "limit"),
    [({}, 0), ({"TRUSTED_PROXIES": "127.0.0.1"}, 0), ({"WEBSOCKET_MAX_FAILURES_PER_ADDRESS": "7"}, 7)],
)
def test_failed_tokens_are_limited_only_if_configured(given: dict[str, str], limit: int) -> None:
    assert settings(**given).max_failures_per_address == limit
