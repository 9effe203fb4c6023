"""Accounts of the members: login and logout with Flask's session."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from flask import Blueprint, flash, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from werkzeug.security import check_password_hash, generate_password_hash

from peatio_ws import in_thread

blueprint = Blueprint("accounts", __name__)

# A real application uses a database. The uid identifies a member in Peatio and Barong.
ACCOUNTS = {
    name: {"uid": uid, "password": generate_password_hash(password)}
    for name, uid, password in [("ann", "IDANN", "ann's password"), ("bob", "IDBOB", "bob's password")]
}


def login_required(view: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(view)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if "uid" not in session:
            return redirect(url_for("accounts.login"))
        return view(*args, **kwargs)

    return wrapper


@blueprint.get("/login")
def login() -> str:
    return render_template("login.html")


@blueprint.post("/login")
def log_in() -> ResponseReturnValue:
    account = ACCOUNTS.get(request.form["name"])
    # Hashing uses much CPU by design. Run it in a thread, so that the worker's other connections do not wait.
    if account is None or not in_thread(check_password_hash, account["password"], request.form["password"]):
        flash("Name or password is wrong.")
        return render_template("login.html"), 403
    session.clear()
    session["name"], session["uid"] = request.form["name"], account["uid"]
    return redirect(url_for("pages.home"))


@blueprint.post("/logout")
def log_out() -> ResponseReturnValue:
    session.clear()
    return redirect(url_for("accounts.login"))
