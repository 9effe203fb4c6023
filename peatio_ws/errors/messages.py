"""Messages of the broker that cannot be read, and messages that it does not accept."""

from __future__ import annotations

from typing import Final

from peatio_ws.errors.base import ErrorCode, PeatioWsError

_ROUTING_KEYS: Final = "use private.UID.EVENT, public.MARKET.EVENT, global.EVENT or PREFIX.ID.EVENT"


class DeliveryFault(ErrorCode):
    """Why a delivery cannot be read. The codes are label values of `peatio_ws_deliveries_total`."""

    JSON = "json", "the body is not JSON"
    SHAPE = "shape", "the body is not what Peatio publishes to this exchange"
    OWNER = "owner", "it names no owner that the gateway understands"
    NO_OWNER = "no_owner", "it names no owner"
    """A trade on `peatio.trade` that names no owner. Peatio 2.3 and later publish every trade there, and notify its
    owners with `private.<uid>.trade`."""
    ROUTING_KEY = "routing_key", "the routing key is invalid", _ROUTING_KEYS
    EXCHANGE = "exchange", "it was forwarded from another exchange, and its kind is not clear"


class BadDelivery(PeatioWsError):
    """A delivery that cannot be read. It is dropped and counted."""

    event = "delivery dropped"
    code: DeliveryFault

    def __init__(self, code: DeliveryFault) -> None:
        self.code, self.label, self.text, self.remedy = code, code.value, code.text, code.remedy
        self.level = None if code is DeliveryFault.NO_OWNER else "warning"
        super().__init__(self.text)


class PublishError(PeatioWsError):
    """The broker did not accept a message, or did not confirm it."""

    code = "not_published"

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text
