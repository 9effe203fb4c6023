"""Real servers for the tests that need them, one of each per session."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import schedule
from tests.support.gateway import GatewayProcess, Publisher, Signer, forget_history
from tests.support.servers import RabbitMQ, Redis, scratch

GatewayProcess.forks = True


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    schedule.arrange(items)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """With `--dist loadscope`, schedule test files in the order of `tests/support/schedule.py`."""
    return schedule.LongestFirst(config, log) if config.getvalue("dist") == "loadscope" else None


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    with scratch() as path:
        yield path


@pytest.fixture(scope="session")
def broker_of_all(folder: Path) -> Iterator[RabbitMQ]:
    server = RabbitMQ(folder / "rabbitmq")
    yield server
    server.close()


@pytest.fixture(scope="module")
def broker(broker_of_all: RabbitMQ) -> Iterator[RabbitMQ]:
    """The broker of all tests, with an empty history at the beginning of each file."""
    yield broker_of_all
    forget_history(broker_of_all.url)


@pytest.fixture
def empty_history(broker: RabbitMQ) -> Iterator[None]:
    """Let the test begin with an empty history, for files in which no gateway outlives its test."""
    yield
    forget_history(broker.url)


@pytest.fixture(scope="session")
def redis(folder: Path) -> Iterator[Redis]:
    server = Redis(folder / "redis")
    yield server
    server.kill()


@pytest.fixture(scope="module")
def own_redis(folder: Path, request: pytest.FixtureRequest) -> Iterator[Redis]:
    """A Redis for the tests of one module only."""
    server = Redis(folder / f"redis-{request.module.__name__}")
    yield server
    server.kill()


@pytest.fixture(scope="session")
def signer() -> Signer:
    return Signer()


@pytest.fixture
def publisher(broker: RabbitMQ) -> Iterator[Publisher]:
    with Publisher(broker.url) as publisher:
        yield publisher


@pytest.fixture
def fast_publisher(broker: RabbitMQ) -> Iterator[Publisher]:
    """A publisher that waits for no confirms, for thousands of events: a confirm costs more than the event."""
    with Publisher(broker.url, confirm=False) as publisher:
        yield publisher


@pytest.fixture
def start(folder: Path, broker: RabbitMQ, signer: Signer) -> Iterator[Callable[..., GatewayProcess]]:
    """Start gateways with these variables in addition to the required ones. They end after the test."""
    running: list[GatewayProcess] = []

    def start_one(command: tuple[str, ...] = ("gunicorn", "wsgi"), **environ: str) -> GatewayProcess:
        running.append(GatewayProcess(folder, {"AMQP_URL": broker.url, **signer.environ, **environ}, command))
        return running[-1]

    yield start_one
    for gateway in running:
        gateway.stop()


@pytest.fixture(scope="module")
def gateway(folder: Path, broker: RabbitMQ, signer: Signer) -> Iterator[GatewayProcess]:
    """A gateway with default settings, for tests that leave it as it was."""
    process = GatewayProcess(folder, {"AMQP_URL": broker.url, **signer.environ})
    yield process
    process.stop()
