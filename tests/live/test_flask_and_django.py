"""The applications of `examples/flask_app` and `examples/django_app`, started as their READMEs say, with RabbitMQ."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.sync.client import ClientConnection

from tests.live.conftest import EXAMPLES
from tests.support.gateway import ROOT, WAIT, GatewayProcess, Publisher, authenticate, receive
from tests.support.servers import RabbitMQ, wait_until
from tests.support.visitor import Visitor

SITES = ["flask", "django"]
SECRET = "a-secret-of-32-characters-or-more"


@pytest.fixture(scope="module")
def database(folder: Path) -> dict[str, str]:
    """The Django project's database, created by its own command."""
    environ = {"DATABASE": str(folder / "django.sqlite3")}
    manage(environ, "demo")
    return environ


def manage(environ: dict[str, str], *words: str) -> None:
    command = [sys.executable, str(EXAMPLES / "django_app" / "manage.py"), *words]
    subprocess.run(command, env=os.environ | environ, check=True, timeout=60)


@pytest.fixture(scope="module", params=SITES)
def site(request: pytest.FixtureRequest, folder: Path, broker: RabbitMQ) -> Iterator[GatewayProcess]:
    environ = {"AMQP_URL": broker.url, "JWT_ALGORITHM": "HS256", "JWT_PUBLIC_KEY": SECRET, "WEB_CONCURRENCY": "2"}
    if request.param == "django":
        environ |= request.getfixturevalue("database")
    command = ("gunicorn", "--chdir", str(EXAMPLES / f"{request.param}_app"), "wsgi")
    process = GatewayProcess(folder, environ, command)
    yield process
    process.stop()


@pytest.fixture(scope="module")
def ann(site: GatewayProcess) -> Visitor:
    return Visitor(site.port).log_in("ann")


def refusal(client: ClientConnection) -> tuple[int, str]:
    with pytest.raises(ConnectionClosedError) as closed:
        client.recv(timeout=WAIT)
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code, closed.value.rcvd.reason


def test_session_login_receives_what_a_view_pushed(site: GatewayProcess, ann: Visitor) -> None:
    bob = Visitor(site.port).log_in("bob")
    with contextlib.ExitStack() as pages:
        ann_pages = [pages.enter_context(ann.messages()) for _ in range(8)]
        bob_page = pages.enter_context(bob.messages())
        for sender, to, text in ((ann, "bob", "grüße"), (bob, "ann", "<b>hello</b>")):
            answer, _ = sender.post("/notify", to=to, text=text)
            assert answer.status == 204
        assert receive(bob_page) == {"message": {"from": "ann", "text": "grüße"}}
        for page in ann_pages:
            assert receive(page) == {"message": {"from": "bob", "text": "<b>hello</b>"}}
    assert not site.tracebacks()


def test_logged_out_client_is_anonymous(site: GatewayProcess) -> None:
    with Visitor(site.port).websocket("messages") as client:
        assert refusal(client) == (1008, "Not authenticated.")
    bob = Visitor(site.port).log_in("bob")
    with bob.websocket("messages", cookie="forged") as client:
        assert refusal(client) == (1008, "Not authenticated.")
    answer, _ = bob.post("/logout")
    assert answer.url.startswith(f"{bob.origin}/login")
    with bob.websocket("messages") as client:
        assert refusal(client) == (1008, "Not authenticated.")


def test_page_of_another_site_cannot_use_the_cookie(ann: Visitor) -> None:
    with pytest.raises(InvalidStatus) as refused, ann.websocket("messages", "https://evil.example"):
        pass
    assert refused.value.response.status_code == 403


def test_token_from_a_view_works_in_peatios_protocols(ann: Visitor, publisher: Publisher) -> None:
    _, body = ann.post("/token")
    token = json.loads(body)["token"]
    with ann.websocket("ranger/") as client:
        assert receive(client) == {"success": {"message": "subscribed", "streams": []}}
        authenticate(client, token)
        client.send(json.dumps({"event": "subscribe", "streams": ["order"]}))
        assert receive(client) == {"success": {"message": "subscribed", "streams": ["order"]}}
        publisher.order("IDBOB", 1)
        publisher.order("IDANN", 2)
        assert receive(client)["order"]["id"] == 2


def test_application_answers_ordinary_requests(site: GatewayProcess, ann: Visitor) -> None:
    somebody = Visitor(site.port)
    answer, _ = somebody.ask("/")
    assert "/login" in answer.url, "an anonymous visitor is not redirected to the login page"
    _, page = somebody.post("/login", name="ann", username="ann", password="wrong")
    assert b"<h1>Log in</h1>" in page
    answer, page = ann.ask("/statement.csv")
    assert (answer.headers["Transfer-Encoding"], len(page.splitlines())) == ("chunked", 366)
    content = os.urandom(3_000_000)
    _, said = ann.upload("/documents", "document", content)
    assert json.loads(said) == {"name": "a.bin", "sha256": hashlib.sha256(content).hexdigest()}
    assert ann.ask("/nowhere")[0].status == 404
    assert ann.ask("/notify")[0].status == 405


@pytest.mark.parametrize("file", ["members.js", "members.css"])
def test_static_files_are_served_unchanged(site: GatewayProcess, ann: Visitor, file: str) -> None:
    folder = Path(site.command[2]) / "members" / "static"
    (path,) = folder.rglob(file)
    url = f"/static/{path.relative_to(folder)}"
    answer, body = ann.ask(url)
    assert (answer.status, body) == (200, path.read_bytes())
    assert re.match(r"text/(javascript|css)", answer.headers["Content-Type"])
    head, nothing = ann.ask(url, method="HEAD")
    assert (head.status, nothing, head.headers["Content-Length"]) == (200, b"", str(len(body)))
    assert ann.ask(url, If_Modified_Since=answer.headers["Last-Modified"])[0].status == 304


@pytest.mark.parametrize("site", ["django"], indirect=True)
def test_open_websocket_holds_no_database_connection(
    site: GatewayProcess, ann: Visitor, database: dict[str, str]
) -> None:
    with ann.messages() as page:
        wait_until(lambda: not holders_of(site, database["DATABASE"]), "the database's file is closed")
        manage(database | {"AMQP_URL": site.environ["AMQP_URL"]}, "notify", "ann", "accepted")
        assert receive(page) == {"message": {"from": "the exchange", "text": "accepted"}}


def holders_of(site: GatewayProcess, file: str) -> list[int]:
    """Return the workers that have a file open."""
    found = []
    for pid in site.workers():
        for number in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # was closed meanwhile
                found += [pid] if os.readlink(number) == file else []
    return found


def test_the_flask_applications_own_tests_pass() -> None:
    """They run in a separate process, as the file says, without gevent's patches or environment variables."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("JWT_", "AMQP_"))}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null", "examples/flask_app"],
        cwd=ROOT,
        env=environ | {"PYTHONPATH": f"{ROOT}:{EXAMPLES / 'flask_app'}"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout
