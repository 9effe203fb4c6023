"""`make screenshot`: the pictures in the documents of the console and of the operator's page."""

from __future__ import annotations

import base64
import contextlib
import re
import sys
from pathlib import Path

from playwright.sync_api import Browser, expect

from tests.support.gateway import ROOT, GatewayProcess, receive
from tests.support.openapi import TOKEN
from tests.support.servers import Redis, scratch, wait_until
from tests.support.visiting import Visit, chromium

CONSOLE = ROOT / "docs" / "console.webp"
OPERATOR = ROOT / "docs" / "operator.webp"
MOST_BYTES = 150_000
CLIENTS = 40


def simulated(folder: Path, **environ: str) -> GatewayProcess:
    """Start the gateway of `make run`."""
    return GatewayProcess(folder, environ, command=("peatio_ws", "run", "--folder", str(folder / "run")))


def picture(here: Visit) -> bytes:
    """Return a picture of the window as WebP: half as large as Playwright's own PNG. End the visit."""
    session = here.context.new_cdp_session(here.page)
    taken = session.send("Page.captureScreenshot", {"format": "webp", "quality": 85})
    here.end()
    return base64.b64decode(taken["data"])


def take_console(folder: Path, browser: Browser) -> bytes:
    """Take a picture of a console that has traded and reconnected."""
    gateway = simulated(folder)
    try:
        here = Visit(browser, gateway.port)
        here.is_live()
        wait_until(lambda: len(here.trades()) >= 4, "some trades", 90)
        here.page.locator("#tape tr").nth(11).wait_for()  # then the gateway can send those that are missed
        best = float(here.page.locator("#asks tr:last-child td").first.inner_text())
        here.place("sell", "limit", "1.5", f"{best + 4:.1f}")
        here.page.locator("#cut").click()
        seconds = here.page.locator("#news")
        expect(seconds).to_contain_text("without you: 5 s")
        here.page.locator("#cut").click()
        expect(seconds).to_contain_text("delivered now and marked below")
        expect(here.page.locator("#orders [data-state=wait]")).to_have_count(2)
        here.place("buy", "limit", "0.5", here.page.locator("#bids td").first.inner_text())
        return picture(here)
    finally:
        gateway.stop()


def take_operator(folder: Path, browser: Browser) -> bytes:
    """Take a picture of the operator's page, with clients that come, are closed and are refused."""
    redis = Redis(folder / "redis")
    gateway = simulated(folder, REDIS_URL=redis.url, ADMIN_TOKEN=TOKEN)
    try:
        with contextlib.ExitStack() as clients:
            for number in range(CLIENTS):
                path = f"public?stream=btcusd.trades&stream=btcusd.ob-inc{'@250ms' if number % 2 else ''}"
                client = clients.enter_context(gateway.connect(path, max_queue=None, ping_interval=None))
                receive(client)
            console = Visit(browser, gateway.port)
            console.is_live()
            here = Visit(browser, gateway.metrics_port, size={"width": 1440, "height": 650})
            here.page.locator("#token").fill(TOKEN)
            here.page.locator("#enter").click()
            here.page.get_by_role("link", name="Members").click()
            here.page.locator("#members a").click()
            here.page.locator("#member-actions button").first.click()
            here.page.locator("#dialog [type=submit]").click()
            console.end()
            console = Visit(browser, gateway.port)
            with gateway.connect() as refused:
                receive(refused)
                refused.send('{"jwt":"Bearer an.old.token"}')
                receive(refused)
            here.page.get_by_role("link", name="Overview").click()
            here.page.locator("#dismiss").click()
            here.page.locator("#last-refusals li").first.wait_for()
            here.page.locator(".chart text", has_text=re.compile(r"^1 min [3-5]\d s ago$")).first.wait_for(
                timeout=150_000
            )
            return picture(here)
    finally:
        gateway.stop()
        redis.kill()


if __name__ == "__main__":
    with scratch() as scratched, chromium() as browser:
        for file, take in ((CONSOLE, take_console), (OPERATOR, take_operator)):
            taken = take(scratched / file.stem, browser)
            if len(taken) > MOST_BYTES:
                sys.exit(f"{len(taken)} bytes are too many for a picture in the repository; the limit is {MOST_BYTES}")
            file.write_bytes(taken)
            print(f"{file.relative_to(ROOT)}: {len(taken)} bytes")
