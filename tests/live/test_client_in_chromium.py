"""The JavaScript client in Chromium, behind a proxy that authenticates by a cookie, on a page that freezes and is
offline.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.live.test_clients import Flow
from tests.support.gateway import GatewayProcess, Signer
from tests.support.login_proxy import LoginProxy
from tests.support.plain_page import PlainPage
from tests.support.servers import RabbitMQ, wait_until
from tests.support.visiting import chromium

Open = Callable[[str], PlainPage]


@pytest.fixture(scope="module")
def proxy(folder: Path, gateway: GatewayProcess, signer: Signer) -> Iterator[LoginProxy]:
    server = LoginProxy(folder / "login-proxy", gateway, signer.token("IDPAGE"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def visit(browser: Browser, proxy: LoginProxy) -> Iterator[Open]:
    """Open the page by this path."""
    pages: list[PlainPage] = []

    def go(path: str) -> PlainPage:
        pages.append(PlainPage(browser, f"http://127.0.0.1:{proxy.port}{path}"))
        return pages[-1]

    yield go
    for page in pages:
        page.close()


def told(page: PlainPage, name: str) -> Any:
    """Return what the client of the page has told."""
    return page.evaluate(f"window.told?.{name}")


def test_page_gets_every_order_through_a_freeze_a_restart_and_an_offline_phase(
    visit: Open, gateway: GatewayProcess, broker: RabbitMQ
) -> None:
    page = visit("/login")
    wait_until(lambda: told(page, "connected") == 1, "it is connected")
    with Flow(broker, "IDPAGE") as flow:

        def publish(orders: int) -> None:
            goal = flow.published + orders
            wait_until(lambda: flow.published >= goal, f"{orders} more orders are published")

        def page_has_all() -> None:
            goal = flow.published
            wait_until(lambda: (told(page, "orders.at(-1)") or 0) >= goal, f"order {goal} is on the page")

        publish(20)
        page_has_all()
        page.freeze()
        before = told(page, "orders.length")
        publish(50)
        gateway.restart()
        publish(50)
        assert told(page, "orders.length") == before, "it is frozen"
        page.thaw()
        page_has_all()
        assert (told(page, "freezes"), told(page, "connected")) == (1, 2)

        page.set_offline(True)
        wait_until(lambda: "the browser is offline" in told(page, "ends"), "the client has noticed it")
        publish(100)
        assert told(page, "connected") == 2, "there is no network"
        page.set_offline(False)
        page_has_all()
        assert told(page, "connected") == 3
    page_has_all()
    assert told(page, "orders") == list(range(1, flow.published + 1))
    assert told(page, "gaps") == 0
    assert told(page, "refused") is None


def test_page_without_a_session_is_told_to_log_in(visit: Open) -> None:
    page = visit("/")
    wait_until(lambda: bool(told(page, "refused")), "it is refused")
    assert told(page, "refused").startswith("the proxy did not authenticate the connection; log in again")
    assert told(page, "connected") == 0
