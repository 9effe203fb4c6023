"""Which messages of docs/asyncapi.yaml a frame matches. The bodies of events are in docs/channels.schema.json."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import yaml
from jsonschema import Draft7Validator
from referencing import Registry
from referencing.jsonschema import DRAFT7

from tests.support.gateway import ROOT

DOCUMENT = yaml.load((ROOT / "docs" / "asyncapi.yaml").read_text(), Loader=yaml.CSafeLoader)
EVENTS = json.loads((ROOT / "docs" / "channels.schema.json").read_text())
DOCUMENT_URI, EVENTS_URI = "file:///asyncapi.yaml", "file:///channels.schema.json"
REGISTRY: Registry[Any] = Registry().with_resources(
    [(DOCUMENT_URI, DRAFT7.create_resource(DOCUMENT)), (EVENTS_URI, DRAFT7.create_resource(EVENTS))]
)
SENDERS = {"send": "server", "receive": "client"}

Messages = dict[str, tuple[str, Draft7Validator]]
"""Name of a message: its kind (`json`, `text/plain`, `close`, …), and what its payload has to be."""


def at(reference: str) -> Any:
    """Resolve a `$ref` of the document, through a chain of them."""
    found = DOCUMENT
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return at(found["$ref"]) if "$ref" in found else found


def kind_of(message: dict[str, Any]) -> str:
    return str(message.get("x-frame") or message.get("contentType") or "json")


def validator(uri: str) -> Draft7Validator:
    """Return what checks a value against a schema of the two files."""
    return Draft7Validator({"$ref": uri}, registry=REGISTRY)


def body(definition: str) -> Draft7Validator:
    """Return what checks a value against a definition of channels.schema.json."""
    return validator(f"{EVENTS_URI}#/definitions/{definition}")


def messages(channel: str, sender: str) -> Messages:
    """Return what one side may send on a channel: by the operations, and their replies."""
    found: Messages = {}
    for operation in DOCUMENT["operations"].values():
        if operation["channel"]["$ref"] != f"#/channels/{channel}":
            continue
        references = operation["messages"] if SENDERS[operation["action"]] == sender else []
        if sender == "server":
            references = [*references, *operation.get("reply", {}).get("messages", [])]
        for reference in (one["$ref"] for one in references):
            message = at(reference)
            pointer = DOCUMENT["channels"][channel]["messages"][reference.rpartition("/")[2]]["$ref"]
            found[reference.rpartition("/")[2]] = (kind_of(message), validator(f"{DOCUMENT_URI}{pointer}/payload"))
    return found


MESSAGES = {key: messages(*key) for key in itertools.product(("classic", "ranger"), ("client", "server"))}


def matching(channel: str, sender: str, frame: Any) -> list[str]:
    """Return the messages that a frame matches.

    Args:
        frame: a text as it was received, or what `relay.Connection` has for other frames.
    """
    kinds, value = ["close"] if isinstance(frame, dict) and "code" in frame else ["application/octet-stream"], frame
    if isinstance(frame, str):
        if bare := [name for name, _ in find(channel, sender, ["text/plain"], frame) if name in ("ping", "pong")]:
            return bare
        kinds = ["json"]
        try:
            value = json.loads(frame)
        except (ValueError, RecursionError):
            kinds = ["text/plain"]
    return [name for name, _ in find(channel, sender, kinds, value)]


def find(channel: str, sender: str, kinds: list[str], value: Any) -> Iterator[tuple[str, Draft7Validator]]:
    for name, (kind, validator) in MESSAGES[channel, sender].items():
        if kind in kinds and validator.is_valid(value):
            yield name, validator


EVENT = validator(EVENTS_URI)
"""Checks a frame with an event of Peatio."""
