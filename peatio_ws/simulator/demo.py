"""The simulated exchange for its clients: it accepts their orders, and logs everyone in as its member.

Tokens are signed with a key of this process that is never stored, for one member of an exchange in the same process.
`Settings` ensures that none of this exists on a real exchange.
"""

from __future__ import annotations

import functools
import secrets
from collections.abc import Callable, Mapping
from typing import Any, Final

from peatio_ws.auth.identity import require_authenticated
from peatio_ws.auth.keys import new_private_key
from peatio_ws.auth.signing import session_token
from peatio_ws.auth.verifier import Verifier
from peatio_ws.config.settings import Settings
from peatio_ws.simulator import rest_orders
from peatio_ws.simulator.exchange import SimulatedExchange
from peatio_ws.simulator.publications import rest_order, rest_public_trade, rest_trade
from peatio_ws.simulator.rest_api import RestApi, WSGIApp
from peatio_ws.simulator.simulation import MEMBER, MEMBER_ID

TOKEN_SECONDS: Final = 3600
Handler = Callable[[Any, dict[str, Any]], object]
"""See `Gateway.on`."""


class Demo:
    """One per process.

    Attributes:
        settings: the given settings, with the key of its tokens added.
        events: its handlers, by event.
    """

    def __init__(self, settings: Settings) -> None:
        self._exchange = SimulatedExchange()
        public: Any
        if settings.jwt_algorithm == "HS256":
            self._key: Any = secrets.token_bytes(32)
            public = self._key
        else:
            self._key = new_private_key(settings.jwt_algorithm)
            public = self._key.public_key()
        self.settings = settings.model_copy(update={"jwt_keys": (*settings.jwt_keys, public)})
        self.events: Mapping[str, Handler] = {
            "place_order": self._place,
            "cancel_order": self._cancel,
            "create_deposit_address": self._create_address,
        }

    def run(self) -> None:
        """Publish what happens, forever."""
        self._exchange.run()

    def rest_api(self, app: WSGIApp) -> RestApi:
        """Return an application that answers the requests of Peatio's REST API, in front of another one."""
        verifier = Verifier(self.settings.token_rules)
        return RestApi(
            app,
            verifier,
            lambda uid: [rest_order(one) for one in self._exchange.orders(uid)],
            lambda uid: [rest_trade(one) for one in self._exchange.trades(uid)],
            lambda: [rest_public_trade(one) for one in self._exchange.public_trades()],
            functools.partial(rest_orders.answer, self._exchange),
            self.settings.cors_origins,
        )

    def token(self) -> str:
        """Return a session token for the simulated member."""
        settings = self.settings
        claims: dict[str, Any] = {"member_id": MEMBER_ID, "role": "member"}
        claims |= {"aud": list(settings.jwt_audience)} if settings.jwt_audience else {}
        claims |= {"iss": settings.jwt_issuer} if settings.jwt_issuer else {}
        return session_token(MEMBER, TOKEN_SECONDS, claims, self._key, settings.jwt_algorithm)

    def _place(self, session: Any, message: dict[str, Any]) -> None:
        """Handle `{"event":"place_order",…}`, with the fields that `Simulation.place` accepts. Raises ClientError."""
        require_authenticated(session)
        assert session.uid is not None
        number = self._exchange.place(session.uid, message)
        session.reply({"success": {"message": "Order placed.", "order_id": number}})

    def _cancel(self, session: Any, message: dict[str, Any]) -> None:
        """Handle `{"event":"cancel_order","id":<its id>}`. Raises ClientError."""
        require_authenticated(session)
        assert session.uid is not None
        self._exchange.cancel(session.uid, message.get("id"))
        session.reply({"success": {"message": "Order cancelled.", "order_id": message["id"]}})

    def _create_address(self, session: Any, message: dict[str, Any]) -> None:
        """Handle `{"event":"create_deposit_address","currency":"btc"}`, in place of Peatio's request
        `GET …/account/deposit_address/btc`. Raises ClientError."""
        require_authenticated(session)
        assert session.uid is not None
        self._exchange.create_address(session.uid, message.get("currency"))
        session.reply({"success": {"message": "Address requested."}})
