"""A trader's client for the classic protocol: prints own orders and trades, one line of JSON a frame.

Shows how to make a session token as Barong does, answer the challenge with it, and come back after a lost connection
at a pace that a restarting gateway can bear. Against `make run`, with what requirements.txt names:

    JWT_PRIVATE_KEY="$(cat .run/private.pem)" MEMBER_ID=1001 python examples/client.py ws://127.0.0.1:8080/ IDDEMO000001

URL and UID may come from the environment too; JWT_ALGORITHM, JWT_ISSUER and JWT_AUDIENCE as the gateway has them.
MEMBER_ID, the number Peatio knows the member by, is for publishers that name nobody by uid, as the simulated one.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import random
import re
import sys
import time
import uuid
from typing import NoReturn

import jwt
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.sync.client import connect

WAIT = 10.0  # seconds for the connection, the challenge and the answer to the token, each
LONGEST_PAUSE = 30.0
STEADY = 60.0  # a connection that held so many seconds starts the pauses anew
NO_RETURN = dict.fromkeys((1002, 1003, 1007, 1008, 1009), "it would happen again") | {
    4401: "the token has expired",
    4403: "an operator has ended the session",
}


def private_key() -> str:
    text = os.environ["JWT_PRIVATE_KEY"].strip()
    if "-----BEGIN" in text:
        return text
    return base64.b64decode(text.translate(str.maketrans("-_", "+/")) + "==").decode()


def token(uid: str) -> str:
    now = int(time.time())
    claims = {
        "iat": now,
        "exp": now + 3600,
        "jti": str(uuid.uuid4()),
        "sub": "session",
        "iss": os.environ.get("JWT_ISSUER", "barong"),
        "aud": os.environ.get("JWT_AUDIENCE", "peatio,barong").split(","),
        "uid": uid,
        "role": "member",
        "state": "active",
    }
    if "MEMBER_ID" in os.environ:
        claims["member_id"] = int(os.environ["MEMBER_ID"])
    return jwt.encode(claims, private_key(), algorithm=os.environ.get("JWT_ALGORITHM", "RS256"))


def session(url: str, uid: str) -> NoReturn:
    """Serve one connection; raises what ended it."""
    with connect(url, open_timeout=WAIT) as gateway:
        try:
            print(gateway.recv(timeout=WAIT), flush=True)  # {"challenge":"…"}
            gateway.send(json.dumps({"jwt": f"Bearer {token(uid)}"}))
            answer = gateway.recv(timeout=WAIT)
            print(answer, flush=True)
            if "success" not in json.loads(answer):
                sys.exit("the gateway does not take this token")
            while True:  # pings are answered, and sent, by the library
                print(gateway.recv(), flush=True)
        except (KeyboardInterrupt, SystemExit):
            gateway.close()  # with 1000; to leave the block by an exception would say 1011, "internal error"
            raise


def main() -> NoReturn:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", nargs="?", default=os.environ.get("URL", "ws://127.0.0.1:8080/"))
    parser.add_argument("uid", nargs="?", default=os.environ.get("UID", "IDDEMO000001"))
    given = parser.parse_args()
    failures = 0
    while True:
        started = time.monotonic()
        try:
            session(given.url, given.uid)
        except ConnectionClosed as closed:
            code, reason = (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd else (1006, "connection lost")
        except InvalidStatus as refused:  # 429 and 503: the gateway is full
            later = refused.response.headers.get("Retry-After", "0")
            code, reason = 1006, f"HTTP {refused.response.status_code}; retry after {later}"
        except BrokenPipeError:
            raise  # nobody reads what we print, as with `| head`
        except (OSError, InvalidHandshake) as error:
            code, reason = 1006, str(error)

        if code in NO_RETURN:
            sys.exit(f"closed: {code} {reason}; {NO_RETURN[code]}")
        failures = 0 if time.monotonic() - started > STEADY else failures + 1
        # A restart (1012) gives each client a time to return; jitter spreads those who were given the same, or none.
        asked = re.search(r"retry after (\d+)", reason)
        pause = int(asked[1] if asked else 0) + random.uniform(0.5, 1) * min(LONGEST_PAUSE, 2**failures)
        print(f"closed: {code} {reason}; back in {pause:.1f} s", file=sys.stderr, flush=True)
        time.sleep(pause)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(0)
