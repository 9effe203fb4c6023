"""Servers, gateways, members that resume and a market, while servers fail. Knows no test."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Sequence

from tests.support.gateway import GatewayProcess, Signer
from tests.support.resuming import CONFIRM_SECONDS, Market, Member, Members, faults
from tests.support.servers import RabbitMQ, Redis, seldom

MEMBERS = int(os.environ.get("PEATIO_WS_TEST_MEMBERS") or 80)
RATE = float(os.environ.get("PEATIO_WS_TEST_RATE") or 100)
"""Events a second, all members together. Every third event is a trade between two members. With fewer members, each is
sent more of them: as many as before arrive at the moment in which a member resumes."""
LONG = MEMBERS >= 200
"""Whether this is a long form (`make faults-long`, `make cluster-long`)."""


class Background(threading.Thread):
    """Carries out steps while members continue."""

    def __init__(self, steps: Iterable[Callable[[], object]]) -> None:
        super().__init__(daemon=True)
        self._steps = steps
        self._failure: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            for step in self._steps:
                step()
        except BaseException as error:
            self._failure = error

    def check(self) -> None:
        """Raise the exception of a step that failed."""
        if self._failure is not None:
            raise self._failure


class Stage:
    """Servers, gateways, and a market that publishes to members.

    Args:
        others: the other nodes of the broker's cluster.
        confirm_seconds: see `Market`.

    Attributes:
        members: all of them.
        market: publishes until the end.
        connected_to_broker: returns whether every worker is connected to the broker; see `seldom`.
        disconnected_from_broker: returns whether no worker is; see `seldom`.
    """

    def __init__(
        self,
        broker: RabbitMQ,
        redis: Redis,
        gateways: list[GatewayProcess],
        signer: Signer,
        others: Sequence[RabbitMQ] = (),
        confirm_seconds: float = CONFIRM_SECONDS,
    ) -> None:
        self.broker, self.redis, self.gateways = broker, redis, gateways
        run = uuid.uuid4().hex[:8]
        uids = [f"ID{run}{index}" for index in range(MEMBERS)]
        people = [Member(index, uid, signer.token(uid)) for index, uid in enumerate(uids)]
        self.members = Members(people, [gateway.port for gateway in gateways])
        durable = gateways[0].environ.get("AMQP_EXCHANGES_DURABLE") == "true"
        self.market = Market([node.url for node in (broker, *others)], people, RATE, durable, confirm_seconds)
        self.connected_to_broker = seldom(self._connected_to_broker)
        self.disconnected_from_broker = seldom(self._disconnected_from_broker)

    def run(self, disturb: Callable[[], None], judge: Callable[[list[Member], Market], list[str]] = faults) -> str:
        """Cause failures, and wait until every member has received everything. Return a summary for people.

        Args:
            disturb: causes the failures.
            judge: returns what is wrong with the events that members received.
        """
        members, market = self.members, self.market
        with members:
            members.until(members.all_resumed, "all members are connected")
            market.start()
            members.until(lambda: market.confirmed > RATE, "the market publishes")
            began = time.monotonic()
            try:
                disturb()
                market.end()
                members.until(lambda: not market.is_alive(), "the market has ended")
                assert market.failure is None
                ended = time.monotonic()
                members.until(self._all_have_the_last_event, "every member has everything")
            except Exception as error:
                notes = self.story(began, time.monotonic()), self._missing_last_events(), self._gateway_logs()
                error.add_note("\n".join(notes))
                raise
        story = self.story(began, ended)
        assert not (found := judge(members.members, market)), f"{story}\n" + "\n".join(found[:20])
        for gateway in self.gateways:
            assert not gateway.tracebacks()
        return story

    def background(self, *steps: Callable[[], object]) -> None:
        """Carry out slow steps, one after the other, while members continue."""
        thread = Background(steps)
        self.members.until(lambda: not thread.is_alive(), "the steps are done")
        thread.check()

    def kill_a_worker(self) -> None:
        workers = random.choice(self.gateways).workers()
        if workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(random.choice(workers), signal.SIGKILL)

    def deploy(self) -> None:
        """Reload a gateway: new workers start, then the old ones notify their clients and exit."""
        os.kill(random.choice(self.gateways).pid, signal.SIGHUP)

    def _connected_to_broker(self) -> bool:
        """Return whether every worker is connected to the broker."""
        return all(
            gateway.metric("peatio_ws_broker_connected") >= int(gateway.environ["WEB_CONCURRENCY"])
            for gateway in self.gateways
        )

    def _disconnected_from_broker(self) -> bool:
        """Return whether no worker is connected to the broker."""
        return all(gateway.metric("peatio_ws_broker_connected") == 0 for gateway in self.gateways)

    def story(self, began: float, ended: float) -> str:
        members, market = self.members, self.market
        return (
            f"{market.confirmed} events confirmed, {sum(map(len, market.maybe))} not ({market.unroutable} unroutable), "
            f"{sum(len(member.got) for member in members.members)} got; {members.cut} connections cut, "
            f"{sum(member.resumed for member in members.members)} begun, ended {dict(members.ends)}; "
            f"longest silence {members.silence:.1f} s, without a confirm {market.silence:.1f} s; "
            f"disturbed for {ended - began:.1f} s, everything received {time.monotonic() - ended:.1f} s later"
        )

    def _gateway_logs(self) -> str:
        """Return the end of each gateway's log, without closed connections."""
        lines = []
        for gateway in self.gateways:
            lines.append(f"{gateway.log_path.name}: {gateway.operators('/readyz')}, workers {gateway.workers()}")
            lines += [line for line in gateway.log().splitlines() if "connection closed" not in line][-40:]
        return "\n".join(lines)

    def _missing_last_events(self) -> str:
        return "\n".join(
            f"{member.uid} has {len(member.got)} events, the last is {member.got[-1:]} of "
            f"{self.market.sure[member.index][-1:]}; gaps after {sorted(member.gaps)} events, the last notice "
            f"{member.notified_at - self.market.last_from[member.index]:.3f} s after it; cursor {member.cursor}"
            for member in self.members.members
            if not self._has_last_event(member)
        )

    def _all_have_the_last_event(self) -> bool:
        return all(map(self._has_last_event, self.members.members))

    def _has_last_event(self, member: Member) -> bool:
        """Return whether a member has its last event, or a later notice that it may have missed some."""
        index = member.index
        has_it = bool(member.got) and member.got[-1] == self.market.sure[index][-1]
        return has_it or (member.notified_at > self.market.last_from[index] and len(member.got) in member.gaps)
