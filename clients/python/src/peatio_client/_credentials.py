"""Which session token to send, and what a refusal means. Knows no clock and no socket."""

from __future__ import annotations

from typing import Final

from peatio_client._endings import NO_RETURN, UNAUTHORIZED, Ended
from peatio_client._tokens import Renewal, claim, expired
from peatio_client.events import Refused

MOST_REFUSALS: Final = 3
"""Consecutive refused tokens, all different, before the client gives up."""
SKEW_SECONDS: Final = 10.0
"""How far the clock of the gateway may be behind the clock that wrote `iat`. A refused token that is younger is sent
again until it is this old."""
AGAIN_SECONDS: Final = 2.0
"""Shortest time before the same token is sent again."""

IN_THE_LOG: Final = "the gateway's log says why (`token refused`)"
"""The gateway does not send the reason to a client."""
NOT_BY_THE_PROXY: Final = (
    "the proxy did not authenticate the connection; log in again, so that it sends a valid cookie, or sign each "
    "handshake with a valid API key"
)


class Credentials:
    """The session token of a client, over all its connections.

    Args:
        with_token: whether the client sends one.
        by_proxy: whether a proxy adds it instead.
        fresh_headers: whether each handshake gets new headers, so that the next one may be accepted.
        fixed: whether there is only one token.

    Attributes:
        renewal: when the token that the gateway has should be renewed.
        kept: a token to send again; None to ask the token function.
    """

    def __init__(
        self, with_token: bool = True, by_proxy: bool = False, fresh_headers: bool = False, fixed: bool = False
    ) -> None:
        self._with_token, self._by_proxy, self._fresh_headers = with_token, by_proxy, fresh_headers
        self._fixed = fixed
        self.renewal = Renewal()
        self.kept: str | None = None
        self._shown: str | None = None  # the token that was last sent to the gateway
        self._refused: str | None = None  # the last token that the gateway refused
        self._refusals = 0
        self._patient = True  # whether the clocks may be the reason for a refusal

    @property
    def exhausted(self) -> bool:
        """Whether the gateway refused so many tokens that others would not help."""
        return self._refusals >= MOST_REFUSALS

    def why_final(self, ended: Ended, now: float) -> str:
        """Return why no further attempt would help; empty if it might."""
        if ended.code in NO_RETURN:
            return f"closed: {ended.code} {ended.reason}; reconnecting would fail again"
        if ended.code == UNAUTHORIZED and not self._with_token and (self.exhausted or not self._fresh_headers):
            return NOT_BY_THE_PROXY if self._by_proxy else f"{ended.reason}: the gateway requires a token here"
        if self.exhausted:
            return self._refusal(now, f"after {MOST_REFUSALS - 1} others")
        if self._fixed and self._refused is not None and self.kept is None:
            return self._refusal(now, "and there is no other one")
        return ""

    def show(self, token: object, now: float) -> str:
        """Return the token for a new connection.

        Raises:
            Refused: the gateway refused it before.
            TypeError: it is not a token.
        """
        text = checked(token)
        if text == self._refused:
            raise Refused(self._refusal(now, "and `token` gave the same one again"))
        self._shown, self.kept = text, None
        return text

    def renew(self, token: object) -> str | None:
        """Return a token to send on the open connection; None if it is not a new one.

        Raises:
            TypeError: it is not a token.
        """
        text, again = checked(token), self.kept
        self.kept = None
        if text != again and text in (self._shown, self._refused):
            return None
        self._shown = text
        return text

    def connected(self, now: float) -> None:
        """Schedule the renewal of the token that the connection was opened with, or renewed."""
        if self._shown is not None:
            self.renewal.shown(self._shown, now)

    def accept(self) -> None:
        """Record that the gateway accepted the token."""
        self._refused, self._refusals, self._patient = None, 0, True

    def postpone(self) -> None:
        """Allow the same token again: the gateway has no key for it yet."""
        self._shown = None

    def refuse(self, now: float) -> float | None:
        """Record that the gateway refused the token. Return the seconds until the same one should be sent again: the
        clock of the gateway may be behind. None if another one is needed."""
        iat = None if self._shown is None else claim(self._shown, "iat")
        if self._patient and iat is not None and abs(now - iat) < SKEW_SECONDS:
            self.kept = self._shown
            return AGAIN_SECONDS
        self._patient = False
        self._refusals += 1
        self.spend()
        return None

    def refuse_renewal(self, now: float) -> None:
        """Record that the gateway refused a token on the open connection, which continues."""
        seconds = self.refuse(now)
        if seconds is not None:
            self.renewal.again(now, seconds)
        elif self.exhausted:
            self.renewal.stop()

    def spend(self) -> None:
        """Require another token: the session of this one has ended."""
        self._refused = self._shown

    def _refusal(self, now: float, besides: str) -> str:
        why = (self._refused is not None and expired(self._refused, now)) or IN_THE_LOG
        return f"the gateway refuses this token, {besides}: {why}"


def checked(token: object, given: str = "the token function returned") -> str:
    """Return the result of a token function.

    Args:
        given: the part of error texts that says where the token comes from.

    Raises:
        TypeError: it is not a token.
    """
    if not isinstance(token, str):
        raise TypeError(f"a token has to be a string; {given} {type(token).__name__}")
    if not token:
        raise TypeError(f"{given} an empty text; for public streams only, create a client without `token`")
    if any(character.isspace() for character in token):
        raise TypeError("a token is a string without spaces: leave out `Bearer`")
    return token
