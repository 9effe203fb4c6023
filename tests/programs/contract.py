"""Runs a contract checker against real gateways: one and three workers, with Redis and without, each kind of key.

    python -m tests.programs.contract PATH/check.py            four combinations, with all algorithms
    python -m tests.programs.contract PATH/check.py --all      all sixteen
    python -m tests.programs.contract PATH/check.py --record   one combination, whose frames are recorded for
                                                      tests/unit/test_asyncapi.py
    python -m tests.programs.contract PATH/check.py --cases DIR
                                                      runs the cases in DIR too, besides the checker's own

The checker is a program with a folder of cases. It drives a gateway over sockets and the broker. It is not part of
this project; without it, use `tests/live`.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import dataclasses
import gzip
import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from cryptography.hazmat.primitives import serialization

from peatio_ws.auth import keys
from tests.support.gateway import ROOT, GatewayProcess, Signer
from tests.support.relay import Relay
from tests.support.servers import RabbitMQ, Redis, scratch

WORKERS = ("1", "3")
RECORDING = ROOT / "tests" / "unit" / "frames.jsonl.gz"
"""All frames of a run: a line for each connection, see `relay.Connection`."""
KEYS = ("RS256", "ES256", "EdDSA", "EdDSA, raw")


def main(checker: Path, cases: Path | None, everything: bool, records: bool) -> int:
    combinations = list(itertools.product(KEYS, WORKERS, (False, True)))
    if records:
        combinations = [("RS256", "1", True)]
    elif not everything:
        # The four kinds of gateway, each with another kind of key.
        ways = [(workers, with_redis) for workers in WORKERS for with_redis in (False, True)]
        combinations = [(key, *way) for key, way in zip(KEYS, ways, strict=True)]
    failed = 0
    with scratch() as folder:
        broker, redis = RabbitMQ(folder / "rabbitmq"), Redis(folder / "redis")
        try:
            for key, workers, with_redis in combinations:
                print(f"{key}, {workers} worker(s), {'with' if with_redis else 'without'} Redis", flush=True)
                environ = {"AMQP_URL": broker.url, "WEB_CONCURRENCY": workers, "RANGO_RBAC_ADMIN": "admin,superadmin"}
                if with_redis:
                    environ["REDIS_URL"] = redis.url
                failed += run(checker, cases, folder, broker, key, environ, records)
        finally:
            redis.kill()
            broker.close()
    return 1 if failed else 0


def run(
    checker: Path,
    cases: Path | None,
    folder: Path,
    broker: RabbitMQ,
    kind: str,
    environ: dict[str, str],
    records: bool,
) -> int:
    """Run all cases against one gateway. Return 0 if they passed, else 1."""
    signer = Signer(kind.partition(",")[0])
    private = folder / "private.pem"
    private.write_bytes(keys.private_pem(signer.key))
    if kind.endswith("raw"):
        raw = signer.key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        pem = f"-----BEGIN PUBLIC KEY-----\n{base64.b64encode(raw).decode()}\n-----END PUBLIC KEY-----\n"
        environ = {**environ, "JWT_PUBLIC_KEY": base64.b64encode(pem.encode()).decode()}
    gateway = GatewayProcess(folder, {**signer.environ, **environ})
    try:
        with recorded(gateway) if records else contextlib.nullcontext(gateway.url) as url:
            command = [sys.executable, checker, "run", "--url", url, "--amqp", broker.url, "--key", private]
            command += ["--algorithm", signer.algorithm]
            more: list[list[str | Path]] = [[], ["--cases", cases]] if cases is not None else [[]]
            return int(sum(subprocess.run([*command, *one], check=False).returncode for one in more) > 0)
    finally:
        gateway.stop()


@contextlib.contextmanager
def recorded(gateway: GatewayProcess) -> Iterator[str]:
    """Yield a URL of this gateway. Afterwards its traffic is in `RECORDING`."""
    with Relay(gateway.port) as relay:
        yield f"ws://127.0.0.1:{relay.port}/"
    lines = [json.dumps(dataclasses.asdict(connection), separators=(",", ":")) for connection in relay.connections]
    RECORDING.write_bytes(gzip.compress("\n".join(lines).encode(), mtime=0))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.programs.contract")
    parser.add_argument("checker", type=Path)
    parser.add_argument("--cases", type=Path)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--record", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    arguments = _arguments()
    sys.exit(main(arguments.checker, arguments.cases, arguments.all, arguments.record))
