"""Makes a key pair for the run and a signed session token for each member, before anything is measured."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa


@dataclass(frozen=True)
class Keys:
    """The files of the public key (PEM) and of the tokens, one per line."""

    public_key: Path
    tokens: Path


def uid(number: int) -> str:
    """Return the uid of a member, in the format of Barong."""
    return f"ID{number:010d}"


def make(folder: Path, members: int) -> Keys:
    """Write the key and the members' tokens to a folder: RS256, 2048 bits, with the claims that Barong sets."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    keys = Keys(folder / "public.pem", folder / "tokens")
    keys.public_key.write_bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    now = int(time.time())
    with keys.tokens.open("w") as file:
        for number in range(members):
            claims = {
                "iat": now - 5,
                "exp": now + 7200,
                "jti": f"{number:032x}",
                "sub": "session",
                "iss": "barong",
                "aud": ["peatio", "barong"],
                "uid": uid(number),
                "email": f"trader{number}@example.com",
                "role": "member",
                "level": 3,
                "state": "active",
            }
            file.write(jwt.encode(claims, key, algorithm="RS256") + "\n")
    return keys
