"""Runs every block of the documents that can be run.

The blocks of a page in one language run in order, as a reader would run them, against a gateway with its own RabbitMQ
and Redis. docs/contributing.md describes which blocks those are, and how a block that is not run is marked.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from peatio_ws.auth import keys
from peatio_ws.cli.main import main
from tests.support import documents, shell_pages, stranger
from tests.support.documents import Block
from tests.support.gateway import ROOT, GatewayProcess, Publisher, Signer
from tests.support.servers import RabbitMQ, Redis, free_port
from tests.support.transcripts import Failed, Transcript

SECONDS = 120
COMMANDS = {
    "python": ["python", "-"],
    "sh": shell_pages.COMMAND,
    "javascript": ["node", "--input-type=module", "-"],
}
ADMIN_TOKEN = "0123456789abcdef0123456789abcdef"
UID, MEMBER_ID = "ID1234567890", 1001
"""The member to whom `<token>` and `$TOKEN` belong."""

BLOCKS: dict[tuple[Path, str], list[Block]] = {}
for _page in documents.pages():
    for _block in documents.blocks(_page):
        if _block.reason is None and _block.elsewhere is None and not _block.language.startswith("{"):
            _kind = "sh" if shell_pages.belongs(_block) else _block.language
            BLOCKS.setdefault((_page, _kind), []).append(_block)


def of(*languages: str) -> list[tuple[Path, str]]:
    return [key for key in BLOCKS if key[1] in languages]


def shown(key: tuple[Path, str]) -> str:
    return f"{key[0].relative_to(ROOT)}-{key[1]}"


@pytest.fixture(scope="module")
def gateway(folder: Path, broker: RabbitMQ, redis: Redis, signer: Signer) -> Iterator[GatewayProcess]:
    environ = {"AMQP_URL": broker.url, "REDIS_URL": redis.url, "RANGO_RBAC_ADMIN": "admin", "ADMIN_TOKEN": ADMIN_TOKEN}
    environ |= signer.environ
    process = GatewayProcess(folder, environ)
    yield process
    process.stop()


@pytest.fixture(scope="module")
def key_file(folder: Path, signer: Signer) -> Path:
    path = folder / "key.pem"
    path.write_bytes(keys.private_pem(signer.key))
    return path


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the package as a stranger does. Return the folder of its commands."""
    return stranger.installed(tmp_path_factory) / ".venv" / "bin"


def test_the_installed_man_page_is_valid(commands: Path) -> None:
    page = commands.parent / "share" / "man" / "man1" / "peatio-ws.1"
    done = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "error", page], capture_output=True, text=True, timeout=SECONDS
    )
    assert (done.returncode, done.stdout) == (0, "")
    done = subprocess.run(["mandoc", "-T", "utf8", "-O", "width=200", page], capture_output=True, timeout=SECONDS)
    shown = re.sub(r".\x08", "", done.stdout.decode())  # bold letters are printed twice
    named = [f"peatio-ws {name} " for name in main.commands]
    assert [usage for usage in named if usage not in shown] == []
    assert "       --no-simulation\n" in shown


def token(signer: Signer) -> str:
    return signer.token(UID, member_id=MEMBER_ID, role="admin")


def in_place(blocks: list[Block]) -> str:
    """Return one program, with each block at its line on the page, so that tracebacks name that line."""
    program = ""
    for block in blocks:
        program += "\n" * (block.line - program.count("\n")) + block.text
    return program


@pytest.mark.parametrize("key", of("python", "sh", "javascript"), ids=shown)
def test_programs(
    key: tuple[Path, str],
    gateway: GatewayProcess,
    broker: RabbitMQ,
    redis: Redis,
    signer: Signer,
    key_file: Path,
    tmp_path: Path,
    commands: Path,
) -> None:
    page, language = key
    ports = {8080: gateway.port, 4242: gateway.metrics_port, 8090: free_port(), 4243: free_port()}
    replace = {f"{host}:{old}": f"{host}:{new}" for host in ("127.0.0.1", "localhost") for old, new in ports.items()}
    for name, server in (("rabbitmq:5672", broker), ("redis:6379", redis)):
        address = urlsplit(server.url)
        replace[f" {name}: "] = f" {address.hostname}:{address.port}: "  # as `check` prints them
    for variable, port in (("WEBSOCKET_PORT", 8090), ("METRICS_PORT", 4243)):
        replace[f"{variable}={port}"] = f"{variable}={ports[port]}"  # of a second gateway
    folder = tmp_path / "here"
    folder.mkdir()
    if language == "sh":
        program = shell_pages.program(BLOCKS[key], tmp_path, replace)
    else:
        program = in_place(BLOCKS[key])
        for old, new in replace.items():
            program = program.replace(old, new)
    environ = stranger.environment()
    environ |= {
        **signer.environ,
        "PATH": f"{commands}:{environ['PATH']}",
        "AMQP_URL": broker.url,
        "REDIS_URL": redis.url,
        "WEBSOCKET_PORT": str(free_port()),
        "METRICS_PORT": str(free_port()),
        "TOKEN": token(signer),
        "KEY": str(key_file),
        "ADMIN_TOKEN": ADMIN_TOKEN,
    }
    done = subprocess.run(
        COMMANDS[language],
        executable=str(commands / "python") if language == "python" else None,
        input=program,
        env=environ,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{page}:\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("key", of("frames"), ids=shown)
def test_transcripts(key: tuple[Path, str], gateway: GatewayProcess, publisher: Publisher, signer: Signer) -> None:
    for block in BLOCKS[key]:
        try:
            Transcript(gateway, publisher, lambda: token(signer)).play(block.text)
        except (Failed, AssertionError, TimeoutError) as error:
            pytest.fail(f"{block}: {error!r}")


def test_data() -> None:
    for key in of("json", "yaml"):
        for block in BLOCKS[key]:
            (json.loads if block.language == "json" else yaml.safe_load)(block.text)


@pytest.mark.parametrize(
    "block",
    [
        'connect /\nserver {"challenge":"…"}\nclient {"jwt":"Bearer x"}\nserver {"success":…}',
        'connect /public\nserver {"success":{"message":"subscribed","streams":["btcusd.trades"]}}',
        "connect /private\nrefused 403",
        'connect /private\nserver {"success":{"message":"subscribed","streams":[]}}',
        'server {"challenge":"…"}',
        "say hello",
    ],
)
def test_wrong_transcript_fails(block: str, gateway: GatewayProcess, publisher: Publisher) -> None:
    with pytest.raises(Failed):
        Transcript(gateway, publisher, lambda: "none").play(block)
