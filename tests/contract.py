"""Runs a contract checker against real gateways: one and three workers, with Redis and without.

    python -m tests.contract PATH/check.py

The checker is a program with cases beside it, which drives a gateway over sockets and the broker. It is not part of
this project; where it is not to be had, `tests/live` stands alone.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from peatio_ws import keys
from tests.gateway import GatewayProcess, Signer
from tests.servers import RabbitMQ, Redis, scratch

DONE = ("classic-", "limits-")
NOT_YET = ("classic-subscribes",)  # subscriptions come with the ranger protocol


def main(checker: Path) -> int:
    cases = [
        case["name"] for path in sorted(checker.parent.glob("cases/*.json")) for case in json.loads(path.read_text())
    ]
    names = [name for name in cases if name.startswith(DONE) and name not in NOT_YET]
    failed = 0
    with scratch() as folder:
        signer = Signer()
        key = folder / "private.pem"
        key.write_bytes(keys.private_pem(signer.key))
        broker, redis = RabbitMQ(folder / "rabbitmq"), Redis(folder / "redis")
        try:
            for workers in ("1", "3"):
                for extra in ({}, {"REDIS_URL": redis.url}):
                    environ = {
                        "AMQP_URL": broker.url,
                        "WEB_CONCURRENCY": workers,
                        "RANGO_RBAC_ADMIN": "admin,superadmin",
                    }
                    gateway = GatewayProcess(folder, {**signer.environ, **environ, **extra})
                    print(f"{workers} worker(s), {'with' if extra else 'without'} Redis", flush=True)
                    try:
                        failed += subprocess.run(
                            [
                                sys.executable,
                                checker,
                                "run",
                                "--url",
                                gateway.url,
                                "--amqp",
                                broker.url,
                                "--key",
                                key,
                                *names,
                            ],
                            check=False,
                        ).returncode
                    finally:
                        gateway.stop()
        finally:
            redis.kill()
            broker.close()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
