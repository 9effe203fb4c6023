r"""Print a member's orders and trades, one line of JSON each; reconnect as needed. With `make run`:

    .venv/bin/pip install ./clients/python
    JWT_PRIVATE_KEY="$(cat .run/private.pem)" MEMBER_ID=1001 \
        .venv/bin/python examples/client.py ws://127.0.0.1:8080/ IDDEMO000001

URL and UID can also be set in the environment (UID with `env`, because it is read-only in bash), like the settings of
the token (`session_token.py`). An environment other than `.venv` also needs the package `pyjwt[crypto]`, which signs
the token. The package `peatio_client` (`clients/python`) reconnects and resumes.
"""

import argparse
import os
import sys
from functools import partial

from output import show
from peatio_client import Disconnected, PeatioClient, Refused
from session_token import token_maker

note = partial(print, file=sys.stderr, flush=True)


def note_end(end: Disconnected) -> None:
    note(f"closed: {end.code} {end.reason};", "giving up" if end.pause is None else f"back in {end.pause:.1f} s")


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("url", nargs="?", default=os.environ.get("URL", "ws://127.0.0.1:8080/"))
parser.add_argument("uid", nargs="?", default=os.environ.get("UID", "IDDEMO000001"))
given = parser.parse_args()

client = PeatioClient(given.url, token=token_maker(given.uid))
client.on("event", lambda event: show(event.text))
client.on("gap", lambda _: note("events may be missing: a real client would read its state over REST now"))
client.on("connected", lambda _: note("connected"))
client.on("disconnected", note_end)
client.on("error", note)
try:
    client.run()
except Refused as refused:
    sys.exit(str(refused))
except KeyboardInterrupt:
    client.close()
