"""A TLS client that writes its own records, so that a test can send what OpenSSL would not: half a record, a request to
renegotiate (TLS 1.2), any number of key updates (TLS 1.3), close_notify in the middle of something.

OpenSSL shakes hands and decrypts what the server sends. The keys for what the client sends are derived here from what
OpenSSL writes to a key log: RFC 5246 section 6.3 and RFC 5288, or RFC 8446 section 7.1 to 7.3.
"""

from __future__ import annotations

import contextlib
import hmac
import socket
import ssl
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.support.raw_client import WAIT

WINDOW: Final = 16_384
"""What the kernel holds for a client that does not read."""
ALERT, HANDSHAKE, DATA = 21, 22, 23
CLOSE_NOTIFY: Final = bytes((1, 0))
KEY_UPDATE: Final = bytes((24, 0, 0, 1, 0))
"""RFC 8446 section 4.6.3, without a request for an update of the server."""
HELLO: Final = bytes((1, 0, 0, 43, 3, 3)) + bytes(32) + bytes((0, 0, 2, 0xC0, 0x2B, 1, 0, 0, 0))
"""A ClientHello, which asks for a renegotiation when the connection is established (RFC 5246 section 7.4.1.2)."""


class TlsClient:
    """A connection to the gateway.

    Args:
        port: on 127.0.0.1.
        tls: a context for this client alone; it is changed.
        folder: for the key log.
    """

    def __init__(self, port: int, tls: ssl.SSLContext, version: ssl.TLSVersion, folder: Path) -> None:
        log = folder / f"keys-{id(self)}"
        tls.keylog_filename = str(log)
        tls.minimum_version = tls.maximum_version = version
        tls.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
        self._sock = socket.socket()
        self._sock.settimeout(WAIT)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, WINDOW)
        self._sock.connect(("127.0.0.1", port))
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = tls.wrap_bio(self._in, self._out, server_hostname="localhost")
        self._seen = b""  # of the server's side of the handshake
        self._shake_hands()
        lines = [line.split() for line in log.read_text().splitlines() if line[0] != "#"]
        secrets = {label: (bytes.fromhex(random), bytes.fromhex(secret)) for label, random, secret in lines}
        log.unlink()
        if version is ssl.TLSVersion.TLSv1_3:
            self._number, self._secret = 0, secrets["CLIENT_TRAFFIC_SECRET_0"][1]
            self._hash = "sha384" if self._tls.cipher()[0].endswith("384") else "sha256"  # type: ignore[index]
            self._next_key()
        else:
            self._number, self._secret = 1, b""  # after Finished
            self._key, self._iv = self._keys_of_1_2(*secrets["CLIENT_RANDOM"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.drop()

    @property
    def sock(self) -> socket.socket:
        """The socket below TLS."""
        return self._sock

    def drop(self) -> None:
        """Close the socket, whatever was not sent."""
        self._sock.close()

    def send(self, data: bytes) -> None:
        """Send bytes as they are, records or parts of them."""
        self._sock.sendall(data)

    def record(self, payload: bytes, kind: int = DATA) -> bytes:
        """Return an encrypted record. Each of them has to be sent, in order."""
        number, self._number = self._number.to_bytes(8), self._number + 1
        if not self._secret:
            head = bytes((kind, 3, 3))
            sealed = AESGCM(self._key).encrypt(self._iv + number, payload, number + head + len(payload).to_bytes(2))
            return head + (8 + len(sealed)).to_bytes(2) + number + sealed
        head = bytes((DATA, 3, 3)) + (len(payload) + 17).to_bytes(2)
        nonce = (int.from_bytes(self._iv) ^ int.from_bytes(number)).to_bytes(12)
        sealed = head + AESGCM(self._key).encrypt(nonce, payload + bytes((kind,)), head)
        if payload == KEY_UPDATE and kind == HANDSHAKE:
            self._secret, self._number = self._expand(b"traffic upd", hmac.new(b"", b"", self._hash).digest_size), 0
            self._next_key()
        return sealed

    def read(self) -> bytes:
        """Return what the server sent next; b"" at the end of the connection."""
        while True:
            try:
                return self._tls.read(65_536)
            except ssl.SSLWantReadError:
                if not self._feed():
                    return b""

    def read_raw(self, size: int) -> bytes:
        """Read bytes without decrypting them."""
        return self._sock.recv(size)

    def read_on(self) -> None:
        """Read and discard, until the server ends it, or sends an alert."""
        with contextlib.suppress(OSError):  # an SSLError, too
            while self.read():
                pass

    def _shake_hands(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
                self._sock.sendall(self._out.read())
                return
            except ssl.SSLWantReadError:
                self._sock.sendall(self._out.read())
                assert self._feed(), "hung up during the handshake"

    def _feed(self) -> bool:
        data = self._sock.recv(65_536)
        self._in.write(data)
        self._seen = (self._seen + data)[:100]
        return bool(data)

    # ---- keys

    def _next_key(self) -> None:
        size = 32 if "256" in self._tls.cipher()[0].split("_")[2] else 16  # type: ignore[index]
        self._key, self._iv = self._expand(b"key", size), self._expand(b"iv", 12)

    def _expand(self, label: bytes, size: int) -> bytes:
        """HKDF-Expand-Label without context (RFC 8446 section 7.1), for sizes of one block."""
        label = b"tls13 " + label
        info = size.to_bytes(2) + bytes((len(label),)) + label + b"\0"
        return hmac.digest(self._secret, info + b"\1", self._hash)[:size]

    def _keys_of_1_2(self, random: bytes, master: bytes) -> tuple[bytes, bytes]:
        """The client's key and the fixed part of its nonce: both keys of 16 bytes come first, then both nonces."""
        seed = b"key expansion" + self._seen[11:43] + random
        block, last = b"", seed
        while len(block) < 40:
            last = hmac.digest(master, last, "sha256")
            block += hmac.digest(master, last + seed, "sha256")
        return block[:16], block[32:36]
