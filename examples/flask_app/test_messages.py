"""Test the application: views, session, handler and gateway in the test's process, without RabbitMQ.

In the folder of the gateway's checkout, after `make run` has installed the gateway (or `make .venv/.run-ready`):

    .venv/bin/pip install -r examples/flask_app/requirements.txt pytest
    PYTHONPATH=.:examples/flask_app .venv/bin/python -m pytest -c /dev/null examples/flask_app
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from flask.testing import FlaskClient

from peatio_ws import testing

# Set these before importing the application, which reads them.
os.environ.update(testing.environ(JWT_ALGORITHM="HS256", JWT_PUBLIC_KEY="a-secret-of-32-characters-or-more"))

from wsgi import app, application


@pytest.fixture
def server() -> Iterator[testing.Server]:
    with testing.serve(application) as server:
        yield server


def logged_in(name: str) -> FlaskClient:
    browser = app.test_client()
    browser.post("/login", data={"name": name, "password": f"{name}'s password"})
    return browser


def page_of(browser: FlaskClient, server: testing.Server) -> testing.Client:
    """Open the member's WebSocket with its cookie."""
    cookie = browser.get_cookie("session")
    assert cookie is not None
    page = server.connect("/messages", cookie=f"session={cookie.value}")
    assert page.json() == {"ready": True}
    return page


def test_message_reaches_only_its_member(server: testing.Server) -> None:
    ann, bob = logged_in("ann"), logged_in("bob")
    ann_page, bob_page = page_of(ann, server), page_of(bob, server)
    ann.post("/notify", data={"to": "bob", "text": "hello"})
    bob.post("/notify", data={"to": "ann", "text": "good morning"})
    assert ann_page.json() == {"message": {"from": "bob", "text": "good morning"}}
    assert bob_page.json() == {"message": {"from": "ann", "text": "hello"}}


def test_visitor_who_has_not_logged_in_is_disconnected(server: testing.Server) -> None:
    assert server.connect("/messages").closed() == (1008, "Not authenticated.")
