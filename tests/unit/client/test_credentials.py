"""What a refused token, a missing token and a fault of the token function mean for a client."""

from __future__ import annotations

from typing import Any

import pytest
from peatio_client import NoToken, PeatioClient, Refused
from peatio_client._commands import Command, Tell, Wait
from peatio_client._course import Course
from peatio_client._credentials import checked
from peatio_client._endings import Ended
from peatio_client._wire import Route

from tests.unit.client.test_course import AUTHENTICATED, REFUSED, RENEWED, SUBSCRIBED, URL, Followed, course
from tests.unit.client.test_tokens import token

NOW = 1_000_000.0
UNAUTHORIZED = Ended(401, "HTTP 401")


def test_a_fault_of_the_token_function_ends_the_client_with_it() -> None:
    with pytest.raises(KeyError, match="session"):
        Followed(course(), [AUTHENTICATED], [KeyError("session")])
    with pytest.raises(KeyError, match="session"):
        Followed(course(), [AUTHENTICATED, 99], [token(exp=NOW + 100), KeyError("session")])


def test_no_token_available_is_reported_and_asked_for_again() -> None:
    run = Followed(course(), [AUTHENTICATED], [NoToken("Barong is down"), "late"])
    assert run.all("error") == ["no token: Barong is down"]
    assert run.shown == ["late"]


@pytest.mark.parametrize("given", [5, b"token", " ", "Bearer token"])
def test_what_is_not_a_token_is_a_fault(given: object) -> None:
    with pytest.raises(TypeError, match=r"a token (is|has to be) a string"):
        checked(given)


def test_an_empty_token_is_named_as_such() -> None:
    with pytest.raises(TypeError, match=r"^the token function returned an empty text"):
        checked("")
    with pytest.raises(ValueError, match=r"^the token is an empty text"):
        PeatioClient(URL, "")


def test_the_same_token_is_sent_again_while_the_clock_of_the_gateway_may_be_behind() -> None:
    early = token(iat=NOW + 5, exp=NOW + 900)
    run = Followed(course(), [UNAUTHORIZED, UNAUTHORIZED, AUTHENTICATED], [early, "another"])
    assert run.shown == [early] * 3
    assert [pause >= 2 for pause in run.pauses] == [True, True]


def test_an_old_token_is_refused_at_once() -> None:
    old = token(iat=NOW - 11, exp=NOW + 900)
    with pytest.raises(Refused, match="gave the same one again: the gateway's log says why"):
        Followed(course(), [UNAUTHORIZED] * 9, [old])


@pytest.mark.parametrize(("age", "attempts"), [(11, 1), (9, 2)])
def test_refused_fixed_token_ends_the_client_without_a_pause(age: int, attempts: int) -> None:
    """A young one is first sent again, because of the clocks."""
    told, waited = list[Any](), list[float]()

    class Waiting(Followed):
        def _do(self, command: Command) -> Any:
            if isinstance(command, Wait):
                waited.append(command.seconds)
                self.now += command.seconds
            elif isinstance(command, Tell):
                told.append(command.what)
            return super()._do(command)

    followed = Course(Route(URL, (), True), True, None, fixed_token=True)
    with pytest.raises(Refused, match="and there is no other one: the gateway's log says why"):
        Waiting(followed, [UNAUTHORIZED] * 9, [token(iat=NOW - age, exp=NOW + 900)])
    assert [end.pause for end in told] == [*waited, None]
    assert len(told) == attempts


def test_an_expired_token_is_refused_with_its_time_and_what_to_do() -> None:
    old = token(iat=NOW - 900, exp=NOW - 60)
    text = "it expired at 1970-01-12 13:45:40 UTC; give a function that returns a new token"
    with pytest.raises(Refused, match=f"`token` gave the same one again: {text}"):
        Followed(course(), [UNAUTHORIZED] * 9, [old])
    with pytest.raises(Refused, match=f"after 2 others: {text}"):
        Followed(course(), [UNAUTHORIZED] * 9, ["one", "two", old])


def test_clocks_are_the_reason_only_for_so_long() -> None:
    """The token ages; a second one that is new does not start this again."""
    followed = course()
    made = [token(iat=NOW, exp=NOW + 900, jti=number) for number in range(5)]
    waited = [0.0]

    class Waiting(Followed):
        def _do(self, command: object) -> object:
            if hasattr(command, "seconds") and type(command).__name__ == "Wait":
                self.now += command.seconds
                waited[0] += command.seconds
            return super()._do(command)  # type: ignore[arg-type]

    with pytest.raises(Refused, match="after 2 others"):
        Waiting(followed, [UNAUTHORIZED] * 99, made)
    assert 10 < waited[0] < 60


def test_a_fresh_token_that_is_refused_for_the_clocks_is_sent_again_on_the_open_connection() -> None:
    first, early = token(exp=NOW + 100), token(iat=NOW + 80, exp=NOW + 900)
    run = Followed(course(), [AUTHENTICATED, 75, REFUSED, 2, REFUSED, 2, RENEWED, 10], [first, early, "another"])
    assert run.shown == [first, early, early, early]
    assert len(run.opened) == 1


def by_the_proxy(url: str = URL, streams: tuple[str, ...] = ()) -> Course:
    return Course(Route(url, streams, True), False, None)


def test_a_connection_that_the_proxy_authenticates_resumes() -> None:
    followed = by_the_proxy()
    run = Followed(followed, [AUTHENTICATED, {"order": {}, "cursor": "c1"}, Ended(1006, ""), AUTHENTICATED])
    assert run.shown == []
    assert [address.rpartition("&")[2] for address, _ in run.opened] == ["resume=1", "resume=c1"]


@pytest.mark.parametrize("answer", [SUBSCRIBED, UNAUTHORIZED])
def test_headers_of_each_handshake_may_be_refused_twice(answer: object) -> None:
    def signed() -> Course:
        return Course(Route(URL, (), True), False, None, fresh_headers=True)

    run = Followed(signed(), [answer, answer, AUTHENTICATED, Ended(1006, ""), answer, answer, AUTHENTICATED])
    assert len(run.opened) == 6
    with pytest.raises(Refused, match="sign each handshake with a valid API key"):
        Followed(signed(), [answer] * 3)


@pytest.mark.parametrize("answer", [SUBSCRIBED, UNAUTHORIZED])
def test_a_proxy_that_does_not_authenticate_ends_the_client(answer: object) -> None:
    with pytest.raises(Refused, match="log in again"):
        Followed(by_the_proxy(), [answer])


def test_a_401_without_a_token_says_that_one_is_needed() -> None:
    with pytest.raises(Refused, match="requires a token"):
        Followed(course(f"{URL}public", with_token=False), [UNAUTHORIZED])
