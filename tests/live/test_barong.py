"""The real Envoy with `deploy/envoy.yaml`, which asks a played Barong who the clients of private streams are."""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from peatio_client import Disconnected, PeatioClient
from playwright.sync_api import Page

from tests.live.test_clients import Flow
from tests.support.certificate import Certificate
from tests.support.fronts import Front, front
from tests.support.gateway import Publisher, Signer
from tests.support.played_barong import PlayedBarong, barong, signed
from tests.support.proxies import Envoy, replaced
from tests.support.servers import START_SECONDS, RabbitMQ, Redis, wait_until
from tests.support.visiting import chromium

PRIVATE = "api/v2/ranger/private/?stream=order"
AGENT = "a-browser/1.0"
SUBSCRIBED = {"success": {"message": "subscribed", "streams": ["order"]}}
_PAGES = """                        - match: { safe_regex: { regex: "/|/login|/client/.*" } }
                          route: { cluster: barong }
                          typed_per_filter_config:
                            envoy.filters.http.ext_authz:
                              "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute
                              disabled: true
"""
"""A route to the page and the login, as an exchange has for its front end and for Barong itself."""


class Exchange(NamedTuple):
    front: Front
    barong: PlayedBarong


@pytest.fixture(scope="module")
def exchange(folder: Path, broker: RabbitMQ, redis: Redis, signer: Signer) -> Iterator[Exchange]:
    with barong(signer.token) as (played, port):

        class EnvoyWithPages(Envoy):
            barong = port

            def command(self) -> list[str]:
                command = super().command()
                conf = Path(command[-1])
                conf.write_text(replaced(conf.read_text(), [("routes:\n", f"routes:\n{_PAGES}")]))
                return command

        environ = {
            **signer.environ,
            "AMQP_URL": broker.url,
            "REDIS_URL": redis.url,
            "TRUSTED_PROXIES": "127.0.0.1",
            "WEBSOCKET_DRAIN_SECONDS": "0.5",
        }
        with front(EnvoyWithPages, folder / "barong", Certificate(folder / "barong-certificate"), environ) as started:
            yield Exchange(started, played)


def test_a_session_cookie_opens_the_private_streams(exchange: Exchange, publisher: Publisher) -> None:
    cookie = exchange.barong.log_in("IDANN", AGENT)
    with exchange.front.connect(PRIVATE, Cookie=f"theme=dark; {cookie}", User_Agent=AGENT) as ann:
        assert ann.json() == SUBSCRIBED
        publisher.event("private.IDBOB.order", {"id": 1})
        publisher.event("private.IDANN.order", {"id": 2})
        assert ann.json() == {"order": {"id": 2}}
    assert exchange.barong.asked[-1] == f"/{PRIVATE}"


def test_an_api_key_opens_the_private_streams(exchange: Exchange, publisher: Publisher) -> None:
    exchange.barong.keys["key1"] = "its secret", "IDBOT"
    nonce = uuid.uuid4().hex
    headers = {"X_Auth_Apikey": "key1", "X_Auth_Nonce": nonce, "X_Auth_Signature": signed("its secret", nonce, "key1")}
    with exchange.front.connect(PRIVATE, **headers) as bot:
        assert bot.json() == SUBSCRIBED
        publisher.event("private.IDBOT.order", {"id": 3})
        assert bot.json() == {"order": {"id": 3}}
    assert status(exchange, **headers) == 401, "a nonce is used once"


def test_a_client_signs_each_handshake_with_its_api_key(exchange: Exchange, publisher: Publisher) -> None:
    def headers() -> dict[str, str]:
        nonce = uuid.uuid4().hex
        return {"X-Auth-Apikey": "key2", "X-Auth-Nonce": nonce, "X-Auth-Signature": signed("secret 2", nonce, "key2")}

    def connected(_: object) -> None:
        publisher.event("private.IDBOT2.order", {"id": len(ends)})

    exchange.barong.keys["key2"] = "secret 2", "IDBOT2"
    front, ends = exchange.front, list[Disconnected]()
    options = {"authenticated": "by the proxy", "headers": headers, "ssl": front.proxy.tls, "proxy": None}
    with PeatioClient(f"wss://localhost:{front.proxy.port}/api/v2/ranger/private", **options) as client:
        client.on("connected", connected).on("disconnected", ends.append)
        assert client.next(START_SECONDS).data == {"id": 0}
        for gateway in front.gateways:
            os.kill(gateway.pid, signal.SIGHUP)
        assert client.next(START_SECONDS).data == {"id": len(ends)}
    assert ends[0].code == 1012


def status(exchange: Exchange, path: str = PRIVATE, **headers: str) -> int:
    with exchange.front.raw() as client:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return client.request(given, f"GET /{path} HTTP/1.1").status


def test_clients_that_barong_does_not_know_never_reach_a_gateway(exchange: Exchange, signer: Signer) -> None:
    cookie, own = exchange.barong.log_in("IDANN", AGENT), f"Bearer {signer.token('IDEVE')}"
    before = [gateway.total("peatio_ws_refused_handshakes_total") for gateway in exchange.front.gateways]
    assert status(exchange) == 401
    assert status(exchange, Cookie="_barong_session=0") == 401
    assert status(exchange, Cookie=cookie, User_Agent="another") == 401
    assert status(exchange, Authorization=own) == 401
    assert status(exchange, "api/v2/ranger", Authorization=own) == 401
    assert [gateway.total("peatio_ws_refused_handshakes_total") for gateway in exchange.front.gateways] == before


def test_a_client_s_own_token_is_replaced_by_barong_s(exchange: Exchange, signer: Signer, publisher: Publisher) -> None:
    cookie, own = exchange.barong.log_in("IDANN", AGENT), f"Bearer {signer.token('IDEVE')}"
    with exchange.front.connect(PRIVATE, Cookie=cookie, User_Agent=AGENT, Authorization=own) as ann:
        assert ann.json() == SUBSCRIBED
        publisher.event("private.IDEVE.order", {"id": 4})
        publisher.event("private.IDANN.order", {"id": 5})
        assert ann.json() == {"order": {"id": 5}}


def test_other_paths_do_not_ask_barong(exchange: Exchange, signer: Signer) -> None:
    asked = len(exchange.barong.asked)
    with exchange.front.connect("api/v2/ranger/public/?stream=btcusd.trades,order") as anonymous:
        assert anonymous.json() == {"success": {"message": "subscribed", "streams": ["btcusd.trades"]}}
    own = f"Bearer {signer.token('IDBOT')}"
    with exchange.front.connect("api/v2/ranger/public/?stream=order", Authorization=own) as bot:
        assert bot.json() == SUBSCRIBED
    with exchange.front.connect("api/v2/rangers") as classic:
        assert "challenge" in classic.json()
    assert len(exchange.barong.asked) == asked


def test_page_behind_envoy_resumes_without_ever_having_a_token(exchange: Exchange, broker: RabbitMQ) -> None:
    front, played = exchange
    with chromium() as browser, browser.new_context(ignore_https_errors=True) as context:
        page = context.new_page()
        seen: list[str] = []
        page.on("websocket", lambda socket: seen.append(socket.url))
        page.on("response", lambda response: seen.append(str(response.headers)))
        page.goto(f"https://localhost:{front.proxy.port}/login")
        wait_until(lambda: told(page, "connected") == 1, "the page is connected")
        with Flow(broker, "IDPAGE") as flow:
            for _ in range(2):
                wait_until(lambda goal=flow.published + 30: page_has(page, goal), "30 more orders are on the page")
                connected = told(page, "connected")
                for gateway in front.gateways:  # which of them the page uses, metrics tell late
                    assert gateway.process is not None
                    os.kill(gateway.process.pid, signal.SIGHUP)
                wait_until(lambda more=connected: told(page, "connected") > more, "the page has returned")
        wait_until(lambda: page_has(page, flow.published), "all orders are on the page")
        assert told(page, "orders") == list(range(1, flow.published + 1))
        assert told(page, "gaps") == 0
        assert told(page, "refused") is None
        assert page.evaluate("document.cookie") == "", "the page cannot read the session, either"
        assert len(played.sent) >= 3, "Barong is asked at each connection"
        everything = page.content() + str(seen) + front.proxy.log() + "".join(one.log() for one in front.gateways)
        assert not [token for token in played.sent if token in everything], "a token left Envoy"
        # Chromium does not tell a page that the answer was 401, so the client tries again.
        played.log_out_all()
        asked = len(played.asked)
        page.reload()
        wait_until(lambda: len(played.asked) > asked + 1, "the page has tried twice")
        assert told(page, "connected") == 0


def told(page: Page, name: str) -> Any:
    """Return what the client of the page has told."""
    return page.evaluate(f"window.told?.{name}")


def page_has(page: Page, order: int) -> bool:
    return (told(page, "orders.at(-1)") or 0) >= order
