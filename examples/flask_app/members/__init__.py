"""The members' pages of a small exchange: an ordinary Flask application. It uses two functions of the gateway:
pushing, and `in_thread` to check passwords."""

from __future__ import annotations

import os

from flask import Flask

from members import accounts, pages


def create_app() -> Flask:
    app = Flask(__name__)
    app.config.from_mapping(
        SECRET_KEY=os.environ.get("SECRET_KEY", "for trying out only"),
        SESSION_COOKIE_SAMESITE="Lax",  # forms of other sites are sent without it
        MAX_CONTENT_LENGTH=5 * 2**20,
        # The gateway verifies with the same secret (JWT_ALGORITHM=HS256); no Barong keys here.
        TOKEN_SECRET=os.environ.get("JWT_PUBLIC_KEY", ""),
    )
    app.register_blueprint(accounts.blueprint)
    app.register_blueprint(pages.blueprint)
    return app
