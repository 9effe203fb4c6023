"""The console and the operator's page in a real Chromium, and a user's actions."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

DESKTOP: Final = {"width": 1440, "height": 900}
PHONE: Final = {"width": 390, "height": 844}
TABLET: Final = {"width": 820, "height": 1180}
WAIT: Final = 30_000
"""Milliseconds within which the page has to show something."""
OPTIONS: Final = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Start a browser with a temporary profile."""
    program = shutil.which("chromium-headless-shell")
    assert program, "chromium-headless-shell is not installed; `make servers` does it"
    expect.set_options(timeout=WAIT)
    with sync_playwright() as playwright:
        # Without a path Playwright would look for the Chromium that it downloads.
        browser = playwright.chromium.launch(executable_path=program, args=OPTIONS)
        yield browser
        browser.close()


def violations(page: Page) -> list[str]:
    """Return a report of the rules of accessibility that the page breaks; an empty list if it breaks none."""
    # Chromium takes 0.1 s of CPU to compile axe, and a document keeps it.
    axe = Axe("") if page.evaluate("'axe' in window") else Axe()
    found = axe.run(page)
    return [found.generate_report()] if found.violations_count else []


class Visit:
    """An open page, which must not log errors, fail, or send requests to other hosts."""

    def __init__(self, browser: Browser, port: int, color: Any = "light", size: Any = DESKTOP) -> None:
        self.complaints, self.asked = list[str](), set[str]()
        self.context = browser.new_context(viewport=size, color_scheme=color)
        self.page = page = self.context.new_page()
        page.set_default_timeout(WAIT)
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.asked.add(urlsplit(request.url).netloc))
        page.on("websocket", lambda socket: self.asked.add(urlsplit(socket.url).netloc))
        self.host = f"127.0.0.1:{port}"
        page.goto(f"http://{self.host}/")

    def is_live(self) -> None:
        expect(self.page.locator("#state")).to_have_text("live")
        expect(self.page.locator("#step-in")).to_have_class("done")
        self.page.locator("#bids tr").first.wait_for()

    def place(self, side: str, kind: str, volume: str, price: str = "") -> str:
        """Place an order as a user does. Return the end of its number, which the page shows."""
        self.page.locator(f"#order [value={side}]").check(force=True)  # a label covers the input
        self.page.locator(f"#order [value={kind}]").check(force=True)
        if price:
            self.page.locator("#price").fill(price)
        self.page.locator("#volume").fill(volume)
        self.page.locator("#place").click()
        answer = self.page.locator("#answer")
        expect(answer).to_have_text(re.compile(r"^Order placed: #\d+$"))
        return re.findall(r"#(\d+)", answer.inner_text())[0]

    def order(self, number: str) -> Any:
        return self.page.locator(f"#orders tr[id$='{number}']")

    def trades(self) -> list[int]:
        """Return the ids of the member's trades, oldest first."""
        found = self.page.locator("#fills tr").evaluate_all("rows => rows.map(row => Number(row.dataset.trade))")
        return list(reversed(found))

    def missed(self) -> set[int]:
        return set(
            self.page.locator("#fills tr.missed").evaluate_all("rows => rows.map(row => Number(row.dataset.trade))")
        )

    def overflowing_cards(self) -> list[str]:
        """Return the cards whose content does not fit."""
        cards = "cards => cards.filter(card => card.scrollHeight > card.clientHeight + 1).map(card => card.className)"
        found: list[str] = self.page.locator(".card").evaluate_all(cards)
        return found

    def controls_outside(self) -> list[str]:
        """Return the buttons and fields that a user cannot reach, because they lie beside their card."""
        # An order that is filled meanwhile takes its button out of the page.
        script = """nodes => nodes.filter(node => node.isConnected).filter(node => {
            const [one, card] = [node, node.closest(".card")].map(element => element.getBoundingClientRect());
            return one.width && (one.left < card.left || one.right > card.right);
        }).map(node => node.outerHTML)"""
        found: list[str] = self.page.locator(".card :is(button, input, select)").evaluate_all(script)
        return found

    def send(self, message: Any) -> None:
        """Send a frame as a user does: an object as JSON, or a text."""
        self.page.locator("#frame").fill(message if isinstance(message, str) else json.dumps(message))
        self.page.locator("#send").click()

    def expect_failures(self, *statuses: int) -> None:
        """Check that requests failed with these statuses, and that the page logged nothing else."""
        failed = "Failed to load resource: the server responded with a status of "
        assert {text.removeprefix(failed)[:3] for text in self.complaints} == {str(status) for status in statuses}
        self.complaints.clear()

    def end(self) -> None:
        self.context.close()
        assert self.asked == {self.host}
        assert self.complaints == []
