"""Private events that the gateway does not interpret: any `private.<uid>.<name>`. Ranger clients receive the body byte
for byte."""

from __future__ import annotations

from peatio_ws.protocol import encoding
from peatio_ws.protocol.encoding import Dialect
from peatio_ws.protocol.private_events.base import PrivateEvent, Recall, Recipient, Variant


class MemberEvent(PrivateEvent, frozen=True, gc=False):
    """An event of `peatio.events.ranger` for one member.

    Attributes:
        stream: the name of the event, to which ranger clients subscribe.
        body: JSON, checked.
    """

    stream: str
    body: bytes

    def variant(self, recipient: Recipient, translates: bool) -> Variant | None:
        return () if recipient.dialect is Dialect.RANGER and self.stream in recipient.streams else None

    def encode(self, dialect: Dialect, variant: Variant, recall: Recall) -> bytes:
        return encoding.stream_event(self.stream, self.body)
