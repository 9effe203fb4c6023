"""Pages and actions of a member."""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Iterator

import jwt
from flask import Blueprint, Response, abort, current_app, jsonify, render_template, request, session
from flask.typing import ResponseReturnValue

from members.accounts import ACCOUNTS, login_required
from peatio_ws.errors import PublishError

blueprint = Blueprint("pages", __name__)
TOKEN_SECONDS = 60


@blueprint.get("/")
@login_required
def home() -> str:
    return render_template("home.html", names=ACCOUNTS)


@blueprint.post("/notify")
@login_required
def notify() -> ResponseReturnValue:
    """Push to all open pages of a member, on every worker and host."""
    account = ACCOUNTS.get(request.form["to"]) or abort(404)
    message = {"from": session["name"], "text": request.form["text"]}
    try:
        current_app.extensions["gateway"].publisher.to_member(account["uid"], "message", message)
    except PublishError:
        return "The message could not be sent; try again later.", 503
    return "", 204


@blueprint.post("/token")
@login_required
def token() -> Response:
    """Return a short-lived token for Peatio's protocols. POST, so that it is not cached."""
    now = int(time.time())
    claims = {"sub": "session", "uid": session["uid"], "iat": now, "exp": now + TOKEN_SECONDS, "jti": str(uuid.uuid4())}
    return jsonify(token=jwt.encode(claims, current_app.config["TOKEN_SECRET"], "HS256"))


@blueprint.get("/statement.csv")
@login_required
def statement() -> Response:
    """Stream a response."""

    def lines() -> Iterator[str]:
        yield "day,balance\n"
        for day in range(1, 366):
            yield f"{day},{day * 100}.00\n"

    return Response(lines(), mimetype="text/csv")


@blueprint.post("/documents")
@login_required
def documents() -> Response:
    """Accept a file and describe it."""
    file = request.files["document"]
    return jsonify(name=file.filename, sha256=hashlib.file_digest(file.stream, "sha256").hexdigest())
