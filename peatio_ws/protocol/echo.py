"""The `echo` of a client's message, which each direct answer repeats (contract section 2).

Pure: JSON in, JSON out.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

MAX_ECHO: Final = 64
"""The longest `echo`, in characters."""


class _Echo(msgspec.Struct):
    echo: msgspec.Raw


_decode = msgspec.json.Decoder().decode
_decode_echo = msgspec.json.Decoder(_Echo).decode
_is_integer = re.compile(rb"-?[0-9]{1,64}").fullmatch


def echo_in(text: str) -> bytes:
    """Return the `echo` of a message as JSON. Empty if it is neither a short string nor an integer."""
    raw = bytes(_decode_echo(text).echo)
    if raw[:1] == b'"':
        return raw if len(_decode(raw)) <= MAX_ECHO else b""
    return raw if _is_integer(raw) else b""
