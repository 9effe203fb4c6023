"""Faults of the environment: one line each, all at once, without secrets."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.config.faulty import FAULTY, faults
from tests.unit.samples import environment


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
def test_all_faults_are_reported_together(variables: set[str]) -> None:
    if "AMQP_URL" in variables:
        variables -= {"RABBITMQ_HOST", "RABBITMQ_PORT"}  # not checked in this case
    reported = faults(environment(**{name: FAULTY[name][0] for name in variables}))
    assert {re.match(r"[A-Z_]+", line)[0] for line in reported} == variables - {"JWT_PUBLIC_KEY", "JWT_PUBLIC_KEYS"} | (
        # Without an algorithm the key cannot be checked.
        set() if "JWT_ALGORITHM" in variables else variables & {"JWT_PUBLIC_KEY", "JWT_PUBLIC_KEYS"}
    )
    assert len(reported) == len(set(reported))


def test_fault_of_an_older_variable_is_reported_under_that_name() -> None:
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
def test_no_fault_shows_a_password_or_a_key(broken: dict[str, str]) -> None:
    assert SECRET not in "\n".join(faults(environment(**broken)))


def test_faults_of_pairs_are_reported_with_all_others() -> None:
    reported = faults(
        environment(LOG_LEVEL="loud", WEBSOCKET_PING_INTERVAL="70", AMQP_URL="memory://", WEB_CONCURRENCY="2")
    )
    assert len(reported) == 3
    for name in ("LOG_LEVEL", "WEBSOCKET_PING_INTERVAL", "WEB_CONCURRENCY"):
        assert [line for line in reported if name in line]


def test_fault_of_the_default_leeway_is_reported_once() -> None:
    (line,) = faults(environment(JWT_DEFAULT_LEEWAY="a minute"))
    assert line.startswith("JWT_DEFAULT_LEEWAY")


@pytest.mark.parametrize(
    "variable", ["LOG_LEVEL", "WEBSOCKET_PORT", "JWT_ALGORITHM", "RABBITMQ_PORT", "TRUSTED_PROXIES"]
)
def test_multiline_value_gives_a_fault_of_one_line(variable: str) -> None:
    (line,) = faults(environment(**{variable: "one\ntwo"}))
    assert len(line.splitlines()) == 1
