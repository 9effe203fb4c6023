"""Runs the package of `clients/python` as its argument says (JSON) and prints what it is told, each a line of JSON."""

from __future__ import annotations

import json
import sys
from typing import Any

from peatio_client import Event, PeatioClient, Refused

given: dict[str, Any] = json.loads(sys.argv[1])
tokens: list[str] | None = given.get("tokens")


def tell(name: str, what: Any) -> None:
    print(json.dumps([name, what]), flush=True)


def next_token() -> str:
    assert tokens is not None
    return tokens.pop(0) if len(tokens) > 1 else tokens[0]


client = PeatioClient(
    given["url"],
    token=next_token if tokens else None,
    **{name: given[name] for name in ("streams", "cursor", "silence") if name in given},
)


def take(event: Event) -> None:
    if given.get("stumble") == event.data["id"]:
        del given["stumble"]
        raise ArithmeticError("stumbled")
    tell("event", event.data["id"])
    if given.get("until") == event.data["id"]:
        client.close()


client.on(given.get("on", "order"), take)
client.on("gap", lambda cursor: tell("gap", cursor))
client.on("connected", lambda streams: tell("connected", streams))
client.on("disconnected", lambda end: tell("disconnected", [end.code, end.reason, end.pause]))
client.on("error", lambda message: tell("error", message))
while client.state != "closed":
    try:
        client.run()
    except ArithmeticError as error:
        tell("raised", str(error))
    except Refused as refused:
        tell("refused", str(refused))
        break
tell("ended", client.state)
