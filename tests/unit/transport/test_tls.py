"""TLS of the gateway's own port, on real sockets: versions, ciphers, session tickets, memory, and certificates that are
renewed between two handshakes.
"""

from __future__ import annotations

import ctypes
import datetime
import os
import socket
import ssl
from pathlib import Path
from typing import Any

import gevent
import pytest
import structlog
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from gunicorn.config import Config
from structlog.testing import capture_logs

from peatio_ws.monitoring import metrics
from peatio_ws.server.gunicorn.server import server_tls
from peatio_ws.transport import tls as room
from peatio_ws.transport.frames import text_frame
from peatio_ws.transport.outbox import Outbox
from peatio_ws.transport.tls import ServerTls, configure, read_certificate
from tests.support.certificate import Authority, Certificate, write_key
from tests.support.servers import wait_until

IDLE_BYTES = 50_000
"""What both ends of an idle connection may hold together: they hold 33 KB, and 98 KB if they keep their buffers."""
CONNECTIONS = 50
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.fixture
def files(tmp_path: Path) -> Certificate:
    return Certificate(tmp_path / "gateway")


@pytest.fixture(autouse=True)
def _uncaught_logs() -> None:
    structlog.reset_defaults()


def served_by(files: Certificate, **options: Any) -> ServerTls:
    """TLS as the gateway's configuration makes it, with more of gunicorn's options."""
    cfg = Config()

    def hook(config: Config, make: Any) -> ssl.SSLContext:
        return configure(make(), config.ciphers is None)

    for name, value in {"certfile": str(files.cert), "keyfile": str(files.key), "ssl_context": hook, **options}.items():
        cfg.set(name, value)
    found = server_tls(cfg)
    assert found is not None
    return found


def connected(server: ssl.SSLContext, client: ssl.SSLContext, session: Any = None) -> tuple[Any, Any]:
    """Shake hands. Return both sockets, which do not wait."""
    one, other = socket.socketpair()
    for sock in (one, other):
        sock.setblocking(False)
    ends = [
        server.wrap_socket(one, server_side=True, do_handshake_on_connect=False),
        client.wrap_socket(other, server_hostname="localhost", do_handshake_on_connect=False, session=session),
    ]
    due = list(ends)
    try:
        while due:
            for end in list(due):
                try:
                    end.do_handshake()
                    due.remove(end)
                except (ssl.SSLWantReadError, BlockingIOError):
                    pass
    except BaseException:
        for end in ends:
            end.close()
        raise
    ends[0].send(b"x")
    assert ends[1].recv(1) == b"x"  # the tickets of TLS 1.3 came before it
    return ends[0], ends[1]


def talk(server: Any, client: Any) -> None:
    client.send(b"still there?")
    assert server.recv(100) == b"still there?"
    server.send(b"yes")
    assert client.recv(100) == b"yes"


def shown(tls: ServerTls) -> str:
    """The certificate that a new client is shown, as PEM."""
    unwary = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    unwary.check_hostname, unwary.verify_mode = False, ssl.CERT_NONE
    server, client = connected(tls.context, unwary)
    with server, client:
        return ssl.DER_cert_to_PEM_cert(client.getpeercert(True))


# ---- the context


@pytest.mark.parametrize("version", VERSIONS)
def test_tls_1_2_and_1_3_are_spoken(files: Certificate, version: ssl.TLSVersion) -> None:
    client = files.trusted()
    client.minimum_version = client.maximum_version = version
    one, other = connected(served_by(files).context, client)
    with one, other:
        assert one.version() == version.name.replace("_", ".")
        talk(one, other)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_older_versions_are_refused(files: Certificate) -> None:
    client = files.trusted()
    client.set_ciphers("DEFAULT:@SECLEVEL=0")
    client.minimum_version = client.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError) as refused:
        connected(served_by(files).context, client)
    assert refused.value.reason in ("UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION")


CIPHERS = ["ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-ECDSA-AES128-GCM-SHA256"]


@pytest.mark.parametrize("order", [CIPHERS, CIPHERS[::-1]])
def test_the_client_chooses_the_cipher(files: Certificate, order: list[str]) -> None:
    """It knows whether its processor has AES instructions."""
    client = files.trusted()
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    client.set_ciphers(":".join(order))
    one, other = connected(served_by(files).context, client)
    with one, other:
        assert one.cipher()[0] == order[0]
    one, other = connected(served_by(files, ciphers=":".join(CIPHERS)).context, client)
    with one, other:
        assert one.cipher()[0] == CIPHERS[0], "a list that the operator made is in the operator's order"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_ticket_is_good_for_another_worker_and_after_a_renewal(files: Certificate, version: ssl.TLSVersion) -> None:
    tls, client = served_by(files), files.trusted()
    client.maximum_version = version
    one, other = connected(tls.context, client)
    with one, other:
        session = other.session
    assert session.has_ticket
    status = os.fork()
    if not status:  # a worker
        good = False
        try:
            one, other = connected(tls.context, client, session)
            good = other.session_reused
        finally:
            os._exit(0 if good else 1)
    assert os.waitpid(status, 0)[1] == 0, "another worker resumes the session"
    files.renew()
    tls.renew()
    one, other = connected(tls.context, client, session)
    with one, other:
        assert other.session_reused


def allocated() -> int:
    """Bytes that this process holds by malloc."""
    names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"

    class Info(ctypes.Structure):
        _fields_ = [(name, ctypes.c_size_t) for name in names.split()]

    mallinfo = ctypes.CDLL(None).mallinfo2
    mallinfo.restype = Info
    found = mallinfo()
    return int(found.uordblks + found.hblkhd)


def test_an_idle_connection_holds_no_buffers(files: Certificate) -> None:
    """As with SSL_MODE_RELEASE_BUFFERS, which Python sets."""
    tls, client, ends = served_by(files), files.trusted(), []
    for _ in range(2):
        ends.append(connected(tls.context, client))
    before = allocated()
    for _ in range(CONNECTIONS):
        one, other = connected(tls.context, client)
        one.send(b"x" * 10_000)
        while len(other.recv(16_384)) < 10_000:
            pass
        talk(one, other)
        ends.append((one, other))
    assert allocated() - before < CONNECTIONS * IDLE_BYTES
    for one, other in ends:
        one.close()
        other.close()


def records_on_the_way_to(client: Any) -> list[int]:
    """The lengths of the TLS records that a client has not read yet."""
    with socket.socket(fileno=os.dup(client.fileno())) as below:
        data = below.recv(1_000_000, socket.MSG_PEEK)
    found = []
    while data:
        found.append(int.from_bytes(data[3:5]))
        data = data[5 + found[-1] :]
    return found


def test_what_a_batch_joined_is_one_record(files: Certificate) -> None:
    one, other = connected(served_by(files).context, files.trusted())
    with one, other:
        outbox = Outbox(one, 1_000_000, 60)
        for number in range(3):
            outbox.put(text_frame(b"%d" % number * 400))
        outbox.flush()
        assert len(records_on_the_way_to(other)) == 1
        assert other.recv(16_384).count(b"2") == 400
        outbox.put(text_frame(b"x" * 20_000))
        outbox.put(text_frame(b"y"))
        outbox.flush()
        first, second = records_on_the_way_to(other)
        assert first > 16_384 > second, "a full record and the rest"


# ---- a certificate that is renewed


def test_a_renewed_certificate_is_shown_to_new_connections(files: Certificate) -> None:
    tls, old = served_by(files), files.cert.read_text()
    one, other = connected(tls.context, files.trusted())
    with one, other, capture_logs() as lines:
        tls.renew()
        assert not lines, "nothing has changed"
        files.renew()
        assert shown(tls) == old
        tls.renew()
        assert shown(tls) == files.cert.read_text() != old
        talk(one, other)
    ends = read_certificate(files.cert).ends.isoformat()
    assert lines == [
        {"event": "certificate renewed", "certificate": str(files.cert), "expires": ends, "log_level": "info"}
    ]


def of_another_pair(files: Certificate, folder: Path) -> tuple[Path, bytes, str]:
    return files.key, Certificate(folder).key.read_bytes(), "OpenSSL reports key values mismatch"


def half_written(files: Certificate, folder: Path) -> tuple[Path, bytes, str]:
    return files.cert, files.cert.read_bytes()[:200], "OpenSSL reports an incomplete PEM file"


def with_a_passphrase(files: Certificate, folder: Path) -> tuple[Path, bytes, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    folder.mkdir()
    return files.key, write_key(folder / "locked", key, b"secret").read_bytes(), "the key has a passphrase"


@pytest.mark.parametrize("wrong", [of_another_pair, half_written, with_a_passphrase])
def test_files_that_cannot_be_used_are_refused_once(files: Certificate, tmp_path: Path, wrong: Any) -> None:
    tls, old = served_by(files), files.cert.read_text()
    path, data, fault = wrong(files, tmp_path / "wrong")
    path.write_bytes(data)
    with capture_logs() as lines:
        for _ in range(4):
            tls.renew()
            assert shown(tls) == old
    event = "renewed certificate refused; keeping the old one"
    assert lines == [{"event": event, "certificate": str(files.cert), "fault": fault, "log_level": "error"}]
    files.renew()
    tls.renew()
    assert shown(tls) == files.cert.read_text() != old


def test_files_that_vanish_are_refused_and_taken_back(files: Certificate) -> None:
    tls, old = served_by(files), files.cert.read_text()
    files.key.rename(files.key.with_suffix(".old"))
    with capture_logs() as lines:
        for _ in range(3):
            tls.renew()
        assert shown(tls) == old
        files.key.with_suffix(".old").rename(files.key)
        tls.renew()
    assert [line.get("fault") for line in lines] == ["No such file or directory", None]
    assert shown(tls) == old


def test_files_written_one_after_the_other_are_no_fault(files: Certificate, tmp_path: Path) -> None:
    tls, new = served_by(files), Certificate(tmp_path / "new")
    files.cert.write_bytes(new.cert.read_bytes())
    with capture_logs() as lines:
        tls.renew()
        new.key.replace(files.key)
        tls.renew()
    assert [line["event"] for line in lines] == ["certificate renewed"]
    assert shown(tls) == new.cert.read_text()


def test_another_type_of_key_replaces_the_old_certificate(files: Certificate) -> None:
    """OpenSSL would keep both, and show the old one to most clients."""
    tls = served_by(files)
    files.renew(rsa.generate_private_key(65_537, 2048))
    tls.renew()
    assert shown(tls) == files.cert.read_text()
    only_ec = ssl.create_default_context(cafile=files.cert)
    only_ec.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
    only_ec.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        connected(tls.context, only_ec)


@pytest.mark.parametrize("key", [None, rsa.generate_private_key(65_537, 2048)], ids=["same type", "another type"])
def test_client_certificates_are_still_required_after_a_renewal(files: Certificate, tmp_path: Path, key: Any) -> None:
    authority = Authority(tmp_path / "clients")
    tls = served_by(files, ca_certs=str(authority.cert), cert_reqs=ssl.CERT_REQUIRED)
    files.renew(key)
    tls.renew()
    client = files.trusted()
    client.maximum_version = ssl.TLSVersion.TLSv1_2  # the handshake of 1.3 ends earlier for the client
    with pytest.raises(ssl.SSLError):
        connected(tls.context, client)
    client.load_cert_chain(*authority.issue("client", "client", for_client=True))
    one, other = connected(tls.context, client)
    with one, other:
        assert one.getpeercert()["subject"] == ((("commonName", "client"),),)


def test_it_looks_by_itself_and_tells_the_end_of_validity(files: Certificate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "LOOK_SECONDS", 0.001)
    tls = served_by(files)

    def told() -> float:
        gevent.sleep(0.001)
        return metrics.certificate_expiry._value.get()  # type: ignore[no-any-return]

    watching = gevent.spawn(tls.run)
    try:
        for days in (3, 90):
            files.renew(until=datetime.timedelta(days=days))
            ends = read_certificate(files.cert).ends.timestamp()
            wait_until(lambda: told() == ends, "the renewed certificate's")  # noqa: B023
    finally:
        watching.kill()


def test_the_facts_of_a_certificate(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "any")
    cert, _ = authority.issue("one", "ws.example.com", "127.0.0.1", until=datetime.timedelta(days=30))
    found = read_certificate(cert)
    assert found.names == ("ws.example.com", "127.0.0.1")
    assert found.ends - found.begins == datetime.timedelta(days=30, hours=1)
    assert read_certificate(authority.cert).names == ()
    with pytest.raises(ValueError):
        read_certificate(__file__)
