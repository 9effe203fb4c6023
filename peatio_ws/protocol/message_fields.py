"""Fields of Peatio's messages: values as the publisher wrote them, so that no digit changes, and owners (contract
section 3).

Pure. Does not know orders and trades (`private_events/`).
"""

from __future__ import annotations

import decimal
import functools
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

import msgspec

from peatio_ws.auth.identity import member_id_of

NULL: Final = b"null"

_NOT_SCALAR: Final = b"{[n"
"""The first characters of an object, a list and `null`."""
_DECIMAL: Final = re.compile(rb'"?(-?[0-9]{1,64}(?:\.[0-9]{1,64})?(?:[eE][+-]?[0-9]{1,2})?)"?')
_EXACT: Final = decimal.Context(prec=300, traps=[decimal.Inexact])


def scalar(raw: msgspec.Raw, fallback: msgspec.Raw | None = None) -> bytes:
    """Return the text of a number, a string or a boolean; else that of the fallback; else `null`."""
    text = bytes(raw)
    if text and text[0] not in _NOT_SCALAR:
        return text
    return NULL if fallback is None else scalar(fallback)


def is_blank(raw: msgspec.Raw) -> bool:
    """Return whether a value is absent, `null` or an empty string."""
    return bytes(raw).strip(b'" ') in (b"", NULL)


def difference(minuend: bytes, subtrahend: bytes) -> bytes:
    """Subtract exactly. The result is a string if either value is; `null` if one of them is not a plain decimal, or if
    the result would have more than 300 digits."""
    first, second = _DECIMAL.fullmatch(minuend), _DECIMAL.fullmatch(subtrahend)
    if not first or not second:
        return NULL
    try:
        value = _EXACT.subtract(decimal.Decimal(first[1].decode()), decimal.Decimal(second[1].decode()))
    except decimal.Inexact:
        return NULL
    text = f"{value:f}".encode()
    return b'"%b"' % text if b'"' in (minuend[:1], subtrahend[:1]) else text


@functools.lru_cache(4096)
def as_iso(moment: bytes) -> bytes:
    """Convert Unix seconds to an ISO 8601 string. Return anything else unchanged."""
    if moment[:1] not in b"-0123456789":
        return moment
    try:
        seconds = float(moment)
        when = datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return moment
    text = when.isoformat(timespec="seconds" if seconds.is_integer() else "milliseconds")
    return b'"%b"' % text.replace("+00:00", "Z").encode()


@functools.lru_cache(4096)
def as_unix(moment: bytes) -> bytes:
    """Convert an ISO 8601 string to Unix seconds. Return anything else unchanged."""
    if moment[:1] != b'"':
        return moment
    try:
        when = datetime.fromisoformat(moment.strip(b'"').decode())
    except ValueError:
        return moment
    return b"%d" % (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


# ---- owners

Owner: TypeAlias = str | int
"""The owner of an event: a uid (str) or a member id (int). The two never match each other."""

_OWNER_FIELDS: Final = frozenset("uid member_id member member_uid user user_id user_uid owner owner_id email".split())
"""Fields that may name an owner, in lower case. Only the first two are understood."""

_decode_any = msgspec.json.Decoder().decode
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class _RepeatedName(Exception):
    """An object has two fields of one name. Of these, msgspec shows the last one only."""


def _check_names(fields: list[tuple[str, object]]) -> None:
    if len(dict(fields)) < len(fields):
        raise _RepeatedName


_check_all_names = json.JSONDecoder(object_pairs_hook=_check_names, parse_int=str, parse_float=str).decode


def _repeats_a_name(body: bytes) -> bool:
    """Return whether an object in this JSON, at any depth, has two fields of one name."""
    try:
        _check_all_names(body.decode())
    except _RepeatedName:
        return True
    return False


def owner_in_headers(headers: Mapping[str, Any], uid: str, member_id: str) -> Owner | None:
    """Return the owner that the headers name under these two names, or None."""
    if not headers:
        return None
    return _as_uid(headers.get(uid)) or _as_member_id(headers.get(member_id))


def owner_in_body(uid: msgspec.Raw, member_id: msgspec.Raw) -> Owner | None:
    """Return the owner that these two fields of a body name, or None."""
    if uid and (owner := _as_uid(_decode_any(uid))):
        return owner
    return _as_member_id(_decode_any(member_id)) if member_id else None


def may_name_owner(headers: Mapping[str, Any] | None, body: bytes, order: bytes) -> bool:
    """Return whether an order may name an owner in a form that is not understood. If in doubt, it does: a private
    order must not be mistaken for a public book change. A repeated field may hide another value.

    Args:
        body: of the message, a JSON object.
        order: the JSON object in it with the order's fields; the body itself if there is no other.
    """
    named = {name: value for name, value in (headers or {}).items() if name.lower() in _OWNER_FIELDS}
    if not all(is_blank_header(value) for value in named.values()):
        return True
    for fields in (body, order):
        for name, raw in _decode_fields(fields).items():
            if name.lower() in _OWNER_FIELDS and not is_blank(raw):
                return True
    return _repeats_a_name(body)


def is_blank_header(value: object) -> bool:
    """Return whether the value of a header is absent or blank."""
    return value is None or (isinstance(value, str) and not value.strip())


def _as_uid(value: object) -> str | None:
    """Every value of a `*uid` field is a uid, even one of digits only."""
    if isinstance(value, str):
        return value.strip() or None
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def _as_member_id(value: object) -> Owner | None:
    """A number or a string of digits is a member id. Any other string in a `*member_id` field is a uid."""
    number = member_id_of(value)
    if number is not None:
        return number
    return value.strip() or None if isinstance(value, str) and not value.isdigit() else None
