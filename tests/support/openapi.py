"""docs/openapi.yaml, and requests to the operator's port whose answers are compared with it."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from typing import Any, Final
from urllib.parse import quote

import yaml
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from tests.support.gateway import ROOT, WAIT, GatewayProcess

TOKEN: Final = "an admin token of 32 characters!".replace(" ", "-")
DOCUMENT: Final[dict[str, Any]] = yaml.load((ROOT / "docs" / "openapi.yaml").read_text(), Loader=yaml.CSafeLoader)
URI: Final = "file:///openapi.yaml"
REGISTRY: Final[Registry[Any]] = Registry().with_resource(
    URI, Resource.from_contents(DOCUMENT, default_specification=DRAFT202012)
)


def pointer(*parts: str) -> str:
    return "/".join(part.replace("~", "~0").replace("/", "~1") for part in parts)


def validator(*parts: str) -> Draft202012Validator:
    """Return what checks a value against the schema at a place of the document."""
    return Draft202012Validator({"$ref": f"{URI}#/{pointer(*parts)}"}, registry=REGISTRY)


def template(path: str) -> str:
    """Return the path of the document that a request belongs to."""
    (found,) = [one for one in DOCUMENT["paths"] if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", one), path)]
    return str(found)


def check(method: str, path: str, given: Any, status: int, headers: Any, body: bytes) -> Any:
    """Check an answer, and a request that was accepted, against the document. Return the answer's content."""
    operation = ["paths", template(path), method.lower()]
    described = DOCUMENT["paths"][operation[1]][operation[2]]
    if given is not None and status == 200:
        validator(*operation, "requestBody", "content", "application/json", "schema").validate(given)
    response = described["responses"][str(status)]
    place = [*operation, "responses", str(status)]
    if "$ref" in response:
        place = response["$ref"].removeprefix("#/").split("/")
        response = DOCUMENT["components"]["responses"][place[-1]]
    for name in response.get("headers", {}):
        assert headers[name], f"{name} is missing"
    if "content" not in response:
        assert body == b""
        return None
    assert headers["Content-Type"] == "application/json"
    assert headers["Cache-Control"] == "no-store"
    content = json.loads(body)
    validator(*place, "content", "application/json", "schema").validate(content)
    return content


def ask(
    gateway: GatewayProcess,
    method: str,
    path: str,
    body: Any = None,
    token: str | None = TOKEN,
    raw: bytes | None = None,
) -> tuple[int, Any]:
    """Return status and content of an answer, which has to match the document.

    Args:
        body: sent as JSON.
        raw: sent instead, as it is.
    """
    data = raw if raw is not None else (json.dumps(body).encode() if body is not None else None)
    headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
    url = f"http://127.0.0.1:{gateway.metrics_port}{quote(path)}"
    request = urllib.request.Request(url, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=WAIT) as answer:
            return answer.status, check(method, path, body, answer.status, answer.headers, answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, check(method, path, body, error.code, error.headers, error.read())
