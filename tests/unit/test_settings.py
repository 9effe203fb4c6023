"""The environment: names, defaults, and faults that are told all at once."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from peatio_ws.errors import ConfigurationError
from peatio_ws.keys import ALGORITHMS, private_pem, public_text
from peatio_ws.settings import Settings
from tests.unit.samples import environment, jwk, jwk_set, private_key, settings

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

FAULTY = {
    "WEBSOCKET_PORT": ["http", "65536", "-1", "80.5"],
    "WEB_CONCURRENCY": ["0", "many", "-1"],
    "AMQP_URL": ["localhost", "http://a", "amqp://", "amqp://a:port/", "amqp://a;http://b"],
    "RABBITMQ_PORT": ["x", "0", "65536", "-1", "٣"],
    "AMQP_EXCHANGES_DURABLE": ["perhaps"],
    "REDIS_URL": ["localhost:6379", "http://a", "redis://", "redis://a:port"],
    "ORDERBOOK_BROADCAST": ["2"],
    "JWT_ALGORITHM": ["none", "HS512", "rs256", "RS257"],
    "JWT_PUBLIC_KEY": ["x", "-----BEGIN PUBLIC KEY-----"],
    "JWT_PUBLIC_KEYS": ["x"],
    "JWT_EXPIRATION_LEEWAY": ["-1", "nan", "inf", "a minute"],
    "JWT_NOT_BEFORE_LEEWAY": ["-1"],
    "JWT_ISSUED_AT_LEEWAY": ["-1"],
    "JWT_ENFORCE_EXPIRY": ["maybe"],
    "API_CORS_ORIGINS": ["https://*", "app-*.example", "https://a.example, *a.example"],
    "TRUSTED_PROXIES": ["proxy.example", "10.0.0.0/33", "10.0.0.1,?"],
    "TRUSTED_PROXIES_HEADER": ["X-Real-IP"],
    "WEBSOCKET_SSL_KEY": ["there/is/no/such/file"],
    "WEBSOCKET_SSL_CERT": ["there/is/no/such/file"],
    "WEBSOCKET_MAX_MESSAGE_BYTES": ["0", "much"],
    "WEBSOCKET_OUTBOX_BYTES": ["0", "much"],
    "WEBSOCKET_AUTH_TIMEOUT": ["0", "-1", "nan", "inf"],
    "WEBSOCKET_PING_TIMEOUT": ["0"],
    "WEBSOCKET_SEND_TIMEOUT": ["0"],
    "LOG_LEVEL": ["loud"],
    "LOG_FORMAT": ["xml"],
    "METRICS_PORT": ["65536"],
}


def faults(environ: dict[str, str]) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_env(environ, at_start=True)
    return [str(fault) for fault in caught.value.faults]


@pytest.mark.parametrize("variable", DEFAULTS)
@pytest.mark.parametrize("nothing", [None, "", "  "])
def test_a_variable_that_is_not_set_or_set_to_nothing_has_its_default(variable: str, nothing: str | None) -> None:
    field, default = DEFAULTS[variable]
    found = settings() if nothing is None else settings(**{variable: nothing})
    assert getattr(found, field) == default


@pytest.mark.parametrize(("variable", "text", "value"), GIVEN)
def test_a_variable_that_is_set_counts(variable: str, text: str, value: Any) -> None:
    assert getattr(settings(**{variable: text}), DEFAULTS[variable][0]) == value


@pytest.mark.parametrize(("name", "field", "value"), [("HOST", "host", "10.0.0.1"), ("PORT", "port", "81")])
def test_the_older_name_counts_where_the_newer_is_not_set(name: str, field: str, value: str) -> None:
    older, newer = f"RANGER_{name}", f"WEBSOCKET_{name}"
    assert str(getattr(settings(**{older: value}), field)) == value
    assert str(getattr(settings(**{older: value, newer: ""}), field)) == value
    assert str(getattr(settings(**{older: "82", newer: value}), field)) == value


@pytest.mark.parametrize("which", ["expiration", "not_before", "issued_at"])
def test_the_default_leeway_counts_where_the_own_one_is_not_set(which: str) -> None:
    field, own = f"jwt_{which}_leeway", f"JWT_{which.upper()}_LEEWAY"
    assert getattr(settings(JWT_DEFAULT_LEEWAY="7"), field) == 7
    assert getattr(settings(**{"JWT_DEFAULT_LEEWAY": "7", own: "0"}), field) == 0


def test_proxies_are_addresses_and_networks_of_both_kinds() -> None:
    found = settings(TRUSTED_PROXIES="10.0.0.0/8, 192.0.2.7 ,::1,fd00::/8").trusted_proxies
    assert [str(network) for network in found] == ["10.0.0.0/8", "192.0.2.7/32", "::1/128", "fd00::/8"]


@given(user=st.text(min_size=1), password=st.text(min_size=1), vhost=st.text(min_size=1), port=st.integers(1, 65_535))
def test_the_parts_of_the_broker_come_whole_into_its_url(user: str, password: str, vhost: str, port: int) -> None:
    parts = {"RABBITMQ_USER": user, "RABBITMQ_PASSWORD": password, "RABBITMQ_VHOST": vhost}
    found = settings(RABBITMQ_HOST="mq.example", RABBITMQ_PORT=str(port), **parts).amqp_urls
    assert len(found) == 1
    url = urlsplit(found[0])
    assert (url.scheme, url.hostname, url.port) == ("amqp", "mq.example", port)
    assert unquote(url.username or "") == (user if user.strip() else "guest")
    assert unquote(url.password or "") == (password if password.strip() else "guest")
    assert unquote(url.path[1:]) == (vhost if vhost.strip() else "/")


def test_a_whole_url_counts_before_its_parts() -> None:
    assert settings(AMQP_URL="amqp://whole", RABBITMQ_HOST="part", RABBITMQ_PORT="x").amqp_urls == ("amqp://whole",)


def test_keys_of_a_rotation_come_after_the_single_one() -> None:
    pairs = [private_key(number=number) for number in range(3)]
    single, *more = (public_text(key) for key in pairs)
    keys = Settings.from_env({"JWT_PUBLIC_KEY": single, "JWT_PUBLIC_KEYS": " , ".join(more)}).jwt_keys
    assert list(keys) == [key.public_key() for key in pairs]
    assert Settings.from_env({"JWT_PUBLIC_KEYS": ",".join(more)}).jwt_keys == keys[1:]


@pytest.mark.parametrize("algorithm", sorted(set(ALGORITHMS) - {"HS256"}))
def test_every_algorithm_is_taken_with_its_key(algorithm: str) -> None:
    text = public_text(private_key(algorithm))
    assert Settings.from_env({"JWT_ALGORITHM": algorithm, "JWT_PUBLIC_KEY": text}).jwt_algorithm == algorithm


def test_a_shared_secret_counts_only_where_hs256_is_named() -> None:
    secret = "0123456789abcdef" * 2
    assert Settings.from_env({"JWT_ALGORITHM": "HS256", "JWT_PUBLIC_KEY": secret}).jwt_keys == (secret.encode(),)
    assert [line.split()[0] for line in faults({"JWT_PUBLIC_KEY": secret})] == ["JWT_PUBLIC_KEY"]


def test_without_a_key_there_is_no_start() -> None:
    (fault,) = faults({})
    assert fault.startswith("JWT_PUBLIC_KEY is not set")


@pytest.mark.parametrize(("variable", "text"), [(name, text) for name, texts in FAULTY.items() for text in texts])
def test_a_fault_is_one_line_that_begins_with_its_variable(variable: str, text: str) -> None:
    environ = environment(**{variable: text})
    if "SSL" in variable:
        assert any(re.match(rf"{variable}\b", line) for line in faults(environ))
    else:
        (line,) = faults(environ)
        assert re.match(rf"{variable}\b(?!_)", line)
        assert "\n" not in line


@given(st.lists(st.sampled_from(sorted(FAULTY)), min_size=2, unique=True).map(set))
def test_all_faults_are_told_together(variables: set[str]) -> None:
    if "AMQP_URL" in variables:
        variables.discard("RABBITMQ_PORT")  # not looked at then
    told = faults(environment(**{name: FAULTY[name][0] for name in variables}))
    assert {re.match(r"[A-Z_]+", line)[0] for line in told} == variables - {"JWT_PUBLIC_KEY", "JWT_PUBLIC_KEYS"} | (
        # Without an algorithm nobody can say whether a key fits.
        set() if "JWT_ALGORITHM" in variables else variables & {"JWT_PUBLIC_KEY", "JWT_PUBLIC_KEYS"}
    )
    assert len(told) == len(set(told))


def test_a_fault_of_an_older_name_is_told_under_that_name() -> None:
    (line,) = faults(environment(RANGER_PORT="x"))
    assert line.startswith("RANGER_PORT")


SECRET = "correcthorsebattery"


@pytest.mark.parametrize(
    "broken",
    [
        {"AMQP_URL": f"http://user:{SECRET}@host/"},
        {"AMQP_URL": f"amqp://user:{SECRET}@host:port/"},
        {"AMQP_URL": f"amqp://ok;amqp:/user:{SECRET}@host"},
        {"REDIS_URL": f"http://:{SECRET}@host"},
        {"REDIS_URL": f"redis://:{SECRET}@host:port"},
        {"RABBITMQ_PASSWORD": SECRET, "RABBITMQ_PORT": "x"},
        {"JWT_PUBLIC_KEY": SECRET},
        {"JWT_PUBLIC_KEYS": SECRET},
        {"JWT_PUBLIC_KEY": SECRET, "JWT_ALGORITHM": "HS256"},
        {"JWT_PUBLIC_KEY": SECRET, "JWT_ALGORITHM": "none", "LOG_LEVEL": "x"},
    ],
)
def test_no_fault_repeats_a_password_or_a_key(broken: dict[str, str]) -> None:
    assert SECRET not in "\n".join(faults(environment(**broken)))


def test_a_private_key_is_refused_under_any_algorithm_and_not_repeated() -> None:
    pem = private_pem(private_key()).decode()
    for algorithm in ("RS256", "ES256", "nonsense"):
        told = "\n".join(faults({"JWT_PUBLIC_KEY": pem, "JWT_ALGORITHM": algorithm}))
        assert "JWT_PUBLIC_KEY is a private key" in told
        assert not [line for line in pem.splitlines()[1:-1] if line in told]


def test_settings_show_no_secret_and_stay_as_they_are() -> None:
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


def test_a_time_to_answer_a_ping_is_longer_than_the_time_between_pings() -> None:
    (line,) = faults(environment(WEBSOCKET_PING_INTERVAL="60"))
    assert "WEBSOCKET_PING_INTERVAL" in line
    assert "WEBSOCKET_PING_TIMEOUT" in line


def test_the_in_process_broker_serves_one_worker() -> None:
    assert settings(AMQP_URL="memory://").embedded
    assert not settings().embedded
    (line,) = faults(environment(AMQP_URL="memory://", WEB_CONCURRENCY="2"))
    assert line.startswith("WEB_CONCURRENCY")


def certificate(folder: Path, number: int) -> tuple[str, str]:
    """Files of a key, and of a certificate for it signed by itself."""
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


def test_the_process_environment_is_read_where_none_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment(WEBSOCKET_PORT="8181").items():
        monkeypatch.setenv(name, value)
    assert Settings.from_env().port == 8181


@given(st.dictionaries(st.sampled_from(sorted({*DEFAULTS, *FAULTY})), st.text(max_size=20), max_size=5))
def test_any_environment_is_taken_or_told_its_faults(environ: dict[str, str]) -> None:
    told = ["NOTHING"]
    try:
        Settings.from_env(environment(**environ))
    except ConfigurationError as error:
        told = [str(fault) for fault in error.faults]
    assert told
    assert all(re.match(r"[A-Z_]+", fault) for fault in told)


def test_faults_of_pairs_are_told_together_with_all_others() -> None:
    told = faults(
        environment(LOG_LEVEL="loud", WEBSOCKET_PING_INTERVAL="70", AMQP_URL="memory://", WEB_CONCURRENCY="2")
    )
    assert len(told) == 3
    for name in ("LOG_LEVEL", "WEBSOCKET_PING_INTERVAL", "WEB_CONCURRENCY"):
        assert [line for line in told if name in line]


@pytest.mark.parametrize("nothing", [";", " ; ;"])
def test_a_list_of_brokers_without_a_broker_is_a_fault(nothing: str) -> None:
    (line,) = faults(environment(AMQP_URL=nothing))
    assert line.startswith("AMQP_URL")


@pytest.mark.parametrize("host", ["a;b", "a b:c", "user@a/b:c", "::1:x"])
def test_a_fault_of_the_brokers_host_is_told_under_its_name(host: str) -> None:
    (line,) = faults(environment(RABBITMQ_HOST=host))
    assert line.startswith("RABBITMQ_HOST")


def test_a_fault_of_the_default_leeway_is_told_once() -> None:
    (line,) = faults(environment(JWT_DEFAULT_LEEWAY="a minute"))
    assert line.startswith("JWT_DEFAULT_LEEWAY")


@pytest.mark.parametrize(
    "variable", ["LOG_LEVEL", "WEBSOCKET_PORT", "JWT_ALGORITHM", "RABBITMQ_PORT", "TRUSTED_PROXIES"]
)
def test_a_value_of_two_lines_is_still_a_fault_of_one(variable: str) -> None:
    (line,) = faults(environment(**{variable: "one\ntwo"}))
    assert len(line.splitlines()) == 1


def test_a_broker_may_have_an_ipv6_address() -> None:
    (url,) = settings(RABBITMQ_HOST="::1").amqp_urls
    assert urlsplit(url).hostname == "::1"


def test_secrets_of_a_rotation_may_be_written_with_blanks_between() -> None:
    first, second = "0123456789abcdef" * 2, "fedcba9876543210" * 2
    found = Settings.from_env({"JWT_ALGORITHM": "HS256", "JWT_PUBLIC_KEYS": f"{first}, {second}"})
    assert found.jwt_keys == (first.encode(), second.encode())


# ---- published keys


@pytest.mark.parametrize("url", ["http://issuer/keys", "https://issuer:8443/api/v2/keys?format=jwks"])
def test_a_set_of_keys_stands_in_for_a_key(url: str) -> None:
    found = Settings.from_env({"JWT_JWKS_URL": url})
    assert (found.jwt_keys, found.jwks_url, found.jwks_file, found.jwks_refresh) == ((), url, None, 30)
    assert settings(JWT_JWKS_URL=url).jwt_keys == settings().jwt_keys


@pytest.mark.parametrize(
    "url", ["keys.json", "file:///keys.json", "ftp://host/keys", "http://", "http://host:port/", f"http://u:{SECRET}@h"]
)
def test_a_set_of_keys_is_at_an_http_address(url: str) -> None:
    (line,) = faults(environment(JWT_JWKS_URL=url))
    assert line.startswith("JWT_JWKS_URL ")
    assert SECRET not in line


@pytest.mark.parametrize("seconds", ["0", "0.5", "-1", "nan", "soon", "86401"])
def test_a_set_is_read_again_after_a_second_or_more(seconds: str) -> None:
    (line,) = faults({"JWT_JWKS_URL": "http://issuer", "JWT_JWKS_REFRESH": seconds})
    assert line.startswith("JWT_JWKS_REFRESH")


def key_file(folder: Path, *members: Any) -> str:
    path = folder / "keys.json"
    path.write_bytes(jwk_set(*members))
    return str(path)


def test_a_file_of_keys_is_looked_at_before_anything_starts(tmp_path: Path) -> None:
    good = key_file(tmp_path, jwk(private_key(), "a"), jwk(private_key("ES256"), "b"))
    assert str(Settings.from_env({"JWT_JWKS_FILE": good}).jwks_file) == good
    told = faults({"JWT_JWKS_FILE": good, "JWT_ALGORITHM": "ES384", "LOG_LEVEL": "loud"})
    assert [line.split()[0] for line in told] == ["JWT_JWKS_FILE", "LOG_LEVEL=loud:"]
    assert "holds no key that can be used: key 'a' is an RSA key of 2048 bits" in told[0]


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ([], "holds no key that can be used: it is empty"),
        ([{"kty": "oct", "k": SECRET}], "holds what should not be in it: key 1 is a shared secret"),
        ([jwk(private_key(), "a"), jwk(private_key(), "b", d=SECRET)], "key 'b' is a private key"),
    ],
)
def test_a_file_without_a_key_or_with_a_secret_one_is_a_fault(tmp_path: Path, members: Any, words: str) -> None:
    (line,) = faults(environment(JWT_JWKS_FILE=key_file(tmp_path, *members)))
    assert line.startswith("JWT_JWKS_FILE ")
    assert words in line
    assert SECRET not in line


def test_a_file_that_is_none_of_keys_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "page").write_text("<html>")
    for name, words in (("page", "is no JSON"), ("missing", "cannot be read"), (".", "cannot be read")):
        (line,) = faults({"JWT_JWKS_FILE": str(tmp_path / name)})
        assert line.startswith(f"JWT_JWKS_FILE {words}")


def test_a_worker_that_starts_while_the_file_is_written_anew_does_not_mind(tmp_path: Path) -> None:
    assert Settings.from_env({"JWT_JWKS_FILE": str(tmp_path / "missing")}).jwks_file == tmp_path / "missing"


def test_one_set_is_enough_and_has_no_shared_secret(tmp_path: Path) -> None:
    both = {"JWT_JWKS_URL": "http://issuer", "JWT_JWKS_FILE": key_file(tmp_path, jwk(private_key()))}
    assert faults(both) == ["JWT_JWKS_URL and JWT_JWKS_FILE are both set; a gateway reads one set of keys"]
    (line,) = faults({"JWT_JWKS_URL": "http://issuer", "JWT_ALGORITHM": "HS256"})
    assert line.startswith("JWT_JWKS_URL does not go with JWT_ALGORITHM=HS256")


@pytest.mark.parametrize(
    ("given", "limit"),
    [({}, 0), ({"TRUSTED_PROXIES": "127.0.0.1"}, 0), ({"WEBSOCKET_MAX_FAILURES_PER_ADDRESS": "7"}, 7)],
)
def test_failed_tokens_are_limited_only_where_somebody_asked_for_it(given: dict[str, str], limit: int) -> None:
    assert settings(**given).max_failures_per_address == limit
