"""A page in Chromium that can freeze and be offline, by the DevTools protocol alone.

Playwright keeps its own pages focused, and such pages do not freeze. Knows no expectations.
"""

from __future__ import annotations

import json
from typing import Any

from playwright.sync_api import Browser

from tests.support.gateway import WAIT
from tests.support.servers import wait_until


class PlainPage:
    """A page with cookies of its own.

    Args:
        browser: a browser of Playwright's.
        url: opened at once.
    """

    def __init__(self, browser: Browser, url: str) -> None:
        self._browser = browser.new_browser_cdp_session()
        self._answers: dict[int, dict[str, Any]] = {}
        self._browser.on("Target.receivedMessageFromTarget", self._take)
        self._context = self._browser.send("Target.createBrowserContext")["browserContextId"]
        there = {"url": url, "browserContextId": self._context}
        target = self._browser.send("Target.createTarget", there)["targetId"]
        attached = self._browser.send("Target.attachToTarget", {"targetId": target, "flatten": False})
        self._session, self._last = attached["sessionId"], 0
        self._send("Network.enable")

    def evaluate(self, expression: str) -> Any:
        """Return the value of an expression in the page; None if it has none yet."""
        return self._send("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def freeze(self) -> None:
        """Hide and freeze the page, as a browser does with one in the background, and on a machine that sleeps."""
        self._send("Page.setWebLifecycleState", state="frozen")

    def thaw(self) -> None:
        self._send("Page.setWebLifecycleState", state="active")

    def set_offline(self, offline: bool) -> None:
        self._send(
            "Network.emulateNetworkConditions", offline=offline, latency=0, downloadThroughput=-1, uploadThroughput=-1
        )

    def close(self) -> None:
        self._browser.send("Target.disposeBrowserContext", {"browserContextId": self._context})
        self._browser.detach()

    def _send(self, method: str, **params: Any) -> dict[str, Any]:
        self._last += 1
        message = json.dumps({"id": self._last, "method": method, "params": params})
        self._browser.send("Target.sendMessageToTarget", {"sessionId": self._session, "message": message})

        def answered() -> bool:
            self._browser.send("Target.getTargets")  # Playwright reads while it waits for an answer
            return self._last in self._answers

        wait_until(answered, f"{method} is answered", WAIT)
        answer = self._answers.pop(self._last)
        assert "result" in answer, answer
        return dict(answer["result"])

    def _take(self, event: dict[str, Any]) -> None:
        message = json.loads(event["message"])
        if "id" in message:
            self._answers[message["id"]] = message
