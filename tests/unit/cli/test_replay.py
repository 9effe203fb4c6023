"""Files of messages and how they are replayed, without a broker."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest

from peatio_ws.cli import replay as publishing
from peatio_ws.cli.replay import RecordedEvent, broker, messages, replay
from peatio_ws.errors import ConfigurationError
from peatio_ws.protocol.exchanges import RANGER


def test_only_the_broker_variables_are_read() -> None:
    found = broker({"AMQP_URL": "amqp://host/", "AMQP_EXCHANGES_DURABLE": "1", "WEBSOCKET_PORT": "x", "PATH": ""})
    assert (found.amqp_urls, found.amqp_durable) == (("amqp://host/",), True)
    assert broker({"RABBITMQ_HOST": "rabbit"}).amqp_urls == ("amqp://guest:guest@rabbit:5672/%2F",)
    with pytest.raises(ConfigurationError, match="RABBITMQ_PORT"):
        broker({"RABBITMQ_PORT": "many", "LOG_LEVEL": "loud"})


# ---- files of messages


def test_a_line_is_a_routing_key_and_a_body_byte_for_byte() -> None:
    lines = [
        b"# recorded on a Monday\n",
        b"\n",
        b'public.btcusd.trades {"a": 1.50,  "b":"\xc3\xa9"} \n',
        b"  private.ID1.trade\t[1]\r\n",
        b"   \n",
        b"  # no message\n",
        b"global.tickers null",
    ]
    assert list(messages(lines)) == [
        RecordedEvent("public.btcusd.trades", b'{"a": 1.50,  "b":"\xc3\xa9"} '),
        RecordedEvent("private.ID1.trade", b"[1]"),
        RecordedEvent("global.tickers", b"null"),
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"public.btcusd.trades", "line 3: the body after the routing key is missing"),
        (b"public.btcusd.trades {", "line 3: the gateway would drop the message"),
        (b'public.btcusd.trades "\xff"', "line 3: the gateway would drop the message"),
        (b"order {}", "'order': the routing key is invalid"),
        (b"public.a.b.c {}", "'public.a.b.c': the routing key is invalid"),
        (b'private.ID1.order {"id":1,"id":', "line 3: the gateway would drop the message"),
        (b"public.\xc3\xa9.b {}", "line 3: the routing key is not ASCII"),
        (b"public.%b.b {}" % (b"a" * 256), "longer than 255"),
    ],
)
def test_bad_line_is_reported(line: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        list(messages([b"\n", b"global.tickers {}\n", line + b"\n"]))


class Collecting:
    """A stand-in for a publisher that records messages."""

    def __init__(self) -> None:
        self.taken: list[RecordedEvent] = []

    @property
    def sent(self) -> int:
        return len(self.taken)

    def publish(self, name: str, routing_key: str, headers: object, body: bytes) -> None:
        assert (name, headers) == (RANGER, {})
        self.taken.append(RecordedEvent(routing_key, body))


MESSAGES = [RecordedEvent(f"public.m{number}.trades", b"{}") for number in range(5)]


def test_replay_keeps_the_order_and_shows_progress() -> None:
    publisher, progress = Collecting(), list[int]()
    replay(publisher, MESSAGES, None, progress.append)  # type: ignore[arg-type]
    assert publisher.taken == MESSAGES
    assert progress == [1, 2, 3, 4, 5]


class Clock:
    """A clock that only moves while something sleeps."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds


def test_replay_catches_up_after_short_delays_only(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, at = Clock(), list[float]()
    monkeypatch.setattr(publishing, "time", clock)

    def delayed() -> Iterator[RecordedEvent]:
        for delay in [0, 0, 0.5, 0, 0, 0, 60, 0]:
            clock.now += delay
            yield MESSAGES[0]

    replay(Collecting(), delayed(), 4, lambda _: at.append(clock.now - 100))  # type: ignore[arg-type]
    assert at[:6] == pytest.approx([0.25, 0.5, 1.0, 1.0, 1.25, 1.5])
    assert at[6:] == pytest.approx([61.5, 61.5])
    assert time.monotonic() != clock.now


@pytest.mark.parametrize("where", ["while publishing", "between"])
def test_ctrl_c_ends_a_replay_between_two_messages(where: str) -> None:
    before = signal.getsignal(signal.SIGINT)

    class Interrupted(Collecting):
        def publish(self, *message: object) -> None:
            if where == "while publishing" and self.sent == 1:
                os.kill(os.getpid(), signal.SIGINT)
            super().publish(*message)  # type: ignore[arg-type]

    def progress(count: int) -> None:
        if where == "between" and count == 2:
            os.kill(os.getpid(), signal.SIGINT)

    publisher = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        replay(publisher, MESSAGES, None, progress)  # type: ignore[arg-type]
    assert publisher.taken == MESSAGES[:2]
    assert signal.getsignal(signal.SIGINT) is before


def test_second_ctrl_c_does_not_wait_for_the_broker() -> None:
    class Hanging(Collecting):
        def publish(self, *_: object) -> None:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            raise AssertionError("went on")

    with pytest.raises(KeyboardInterrupt):
        replay(Hanging(), MESSAGES, None, lambda _: None)  # type: ignore[arg-type]
