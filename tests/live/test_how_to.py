"""The trading page of docs/how-to/trading-page.md in Chromium. `test_documents.py` runs the other how-to pages."""

from __future__ import annotations

import functools
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.live.conftest import CLIENT
from tests.support import documents
from tests.support.gateway import ROOT, GatewayProcess
from tests.support.visiting import chromium

PAGE = ROOT / "docs" / "how-to" / "trading-page.md"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """Copy the page into a folder and serve it. Return its origin."""
    folder = tmp_path / "page"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_trading_page_shows_prices_trades_and_orders_and_reconnects(served: tuple[Path, str], tmp_path: Path) -> None:
    folder, origin = served
    gateway = GatewayProcess(tmp_path, {"API_CORS_ORIGINS": origin}, ("peatio_ws", "run"), cwd=tmp_path)
    try:
        (block,) = [block for block in documents.blocks(PAGE) if block.how == "file index.html"]
        assert len(block.text.splitlines()) <= 30, "as its heading says"
        (folder / "index.html").write_text(block.text.replace("127.0.0.1:8080", f"127.0.0.1:{gateway.port}"))
        shutil.copy(CLIENT / "peatio-client.mjs", folder)
        shutil.copytree(CLIENT / "src", folder / "src")
        token = subprocess.check_output(
            [sys.executable, "-m", "peatio_ws", "token", "--member-id", "1001"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            text=True,
        ).strip()
        with chromium() as browser:
            page = browser.new_page()
            page.goto(f"{origin}/#{token}")
            expect(page.locator("#state")).to_have_text("live")
            expect(page.locator("#bid")).not_to_be_empty()
            page.locator("#trades li").first.wait_for()
            page.locator("#orders li").first.wait_for()
            for worker in gateway.workers():
                os.kill(worker, signal.SIGKILL)
            expect(page.locator("#state")).to_have_text("reconnecting")
            expect(page.locator("#state")).to_have_text("live")
            page.locator("#orders li").first.wait_for()
    finally:
        gateway.stop()
