"""`make screenshot`: the picture in README.md of the console that `make run` serves."""

from __future__ import annotations

import base64
import sys
from pathlib import Path

from playwright.sync_api import expect

from tests.support.gateway import ROOT, GatewayProcess
from tests.support.servers import scratch, wait_until
from tests.support.visiting import Visit, chromium

PICTURE = ROOT / "docs" / "console.webp"
MOST_BYTES = 150_000


def take(folder: Path) -> bytes:
    """Take a picture of a console that has traded and reconnected."""
    gateway = GatewayProcess(folder, {}, command=("peatio_ws", "run", "--folder", str(folder / "run")))
    try:
        with chromium() as browser:
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
            # As WebP it is half as large as Playwright's own PNG.
            session = here.context.new_cdp_session(here.page)
            picture = session.send("Page.captureScreenshot", {"format": "webp", "quality": 85})
            here.end()
    finally:
        gateway.stop()
    return base64.b64decode(picture["data"])


if __name__ == "__main__":
    with scratch() as scratched:
        taken = take(scratched)
    if len(taken) > MOST_BYTES:
        sys.exit(f"{len(taken)} bytes are too many for a picture in the repository; the limit is {MOST_BYTES}")
    PICTURE.write_bytes(taken)
    print(f"{PICTURE.relative_to(ROOT)}: {len(taken)} bytes")
