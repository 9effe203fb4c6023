"""The console in Chromium, against the simulated exchange and a real broker."""

from __future__ import annotations

import json
import re
import subprocess
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.live.conftest import CLIENT
from tests.support.driving import Line
from tests.support.gateway import ROOT, GatewayProcess, Publisher, Signer, receive, resume
from tests.support.played_console import Played, played_console
from tests.support.servers import wait_until
from tests.support.visiting import DESKTOP, PHONE, TABLET, Visit, chromium, violations

PAGE = ROOT / "peatio_ws" / "console" / "static" / "console.mjs"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def simulated(folder: Path) -> Iterator[GatewayProcess]:
    """The gateway that `make run` starts."""
    process = GatewayProcess(folder, {}, command=("peatio_ws", "run", "--folder", str(folder / "run")))
    yield process
    process.stop()


@pytest.fixture
def line(simulated: GatewayProcess) -> Iterator[Line]:
    line = Line(simulated.port)
    yield line
    line.end()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Visit]]:
    visits: list[Visit] = []

    def go(port: int, **options: Any) -> Visit:
        visits.append(Visit(browser, port, **options))
        return visits[-1]

    yield go
    for one in visits:
        one.end()


def token(gateway: GatewayProcess) -> str:
    """Return a token from the endpoint that the page uses."""
    request = urllib.request.Request(f"http://127.0.0.1:{gateway.port}/console/session", method="POST")
    with urllib.request.urlopen(request, timeout=60) as answer:
        return str(json.loads(answer.read())["token"])


class Observer:
    """Another client of the same member, whose connection is never cut. It knows all trades and orders."""

    def __init__(self, gateway: GatewayProcess) -> None:
        self.trades, self.orders = list[int](), dict[int, Any]()
        self._manager = gateway.connect()
        self.client = self._manager.__enter__()
        assert resume(self.client, token(gateway))["complete"]
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        for text in self.client:
            frame = json.loads(text)
            if "trade" in frame:
                self.trades.append(frame["trade"]["id"])
            elif "orderbook" in frame:
                self.orders[frame["orderbook"]["id"]] = frame["orderbook"]

    def trade(self, count: int) -> None:
        """Make trades instead of waiting for those of the simulation."""
        wanted = len(self.trades) + count
        for number in range(count):
            self.place(side="buy" if number % 2 else "sell", ord_type="market", volume="0.1")
        wait_until(lambda: len(self.trades) >= wanted, f"{count} more trades", 60)

    def place(self, **order: str) -> None:
        self.client.send(json.dumps({"event": "place_order", "market": "btcusd", **order}))

    def close(self) -> None:
        self._manager.__exit__(None, None, None)
        self._reader.join(10)


@pytest.fixture
def observer(simulated: GatewayProcess) -> Iterator[Observer]:
    observer = Observer(simulated)
    yield observer
    observer.close()


def test_modules_pass_the_type_check(compiler: None, tmp_path: Path) -> None:
    options = {
        "noEmit": True,
        "declaration": False,
        "emitDeclarationOnly": False,
        "rootDir": str(ROOT),
        "lib": ["es2023", "dom", "dom.iterable"],
        "rootDirs": [
            str(CLIENT),
            str(CLIENT / "types"),
            str(PAGE.parent),
        ],  # the client is linked here, the types that it imports are not
    }
    config = {"extends": str(CLIENT / "tsconfig.json"), "compilerOptions": options, "files": [str(PAGE)]}
    (tmp_path / "tsconfig.json").write_text(json.dumps(config))
    command = ["node_modules/.bin/tsc", "--project", str(tmp_path)]
    done = subprocess.run(command, cwd=CLIENT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout


# ---- trading


def test_placed_order_appears_with_its_trade(simulated: GatewayProcess, visit: Callable[..., Visit]) -> None:
    here = visit(simulated.port)
    here.is_live()
    page = here.page
    expect(page.locator("#step-open span")).to_have_text(here.host)
    number = here.place("buy", "market", "0.3")
    expect(here.order(number)).to_have_attribute("data-state", "done")
    expect(here.order(number).locator("meter")).to_have_js_property("value", 0.3)
    expect(page.locator("#fills tr", has_text=f"#{number}").first).to_be_visible()
    expect(page.locator("#tape tr").first).to_be_visible()
    expect(page.locator("#step-cursor code")).to_have_text(re.compile(r"^[A-Za-z0-9_-]{60}$"))
    expect(page.locator("#depth path")).to_have_count(4)
    shown = page.locator("#frames").inner_text()
    assert '{"event":"place_order","market":"btcusd","side":"buy","ord_type":"market","volume":"0.3"}' in shown
    assert '"Order placed."' in shown
    assert "Bearer ey" not in shown
    page.locator("#pace").select_option("ob-top@20")
    page.locator("#show-code").click()
    for language in ("python", "javascript", "wscat"):
        page.locator(f"#languages [value={language}]").check(force=True)
        for word in ("TOKEN", "20", "place_order", '"0.3"', f"ws://{here.host}/"):
            expect(page.locator("#program")).to_contain_text(word)


def test_waiting_order_is_marked_in_the_book_and_can_be_cancelled(
    simulated: GatewayProcess, visit: Callable[..., Visit]
) -> None:
    here = visit(simulated.port)
    here.is_live()
    best = float(here.page.locator("#asks tr td").first.inner_text())
    number = here.place("sell", "limit", "0.25", f"{best + 9:.1f}")
    expect(here.order(number)).to_have_attribute("data-state", "wait")
    expect(here.page.locator("#depth circle.own").first).to_be_visible()
    here.order(number).locator("button").click()
    expect(here.order(number)).to_have_attribute("data-state", "cancel")
    expect(here.order(number).locator(".trail")).to_have_text("open → cancelled")


def test_invalid_order_is_explained(simulated: GatewayProcess, visit: Callable[..., Visit]) -> None:
    here = visit(simulated.port)
    here.is_live()
    here.page.locator("#price").fill("9000.55")
    here.page.locator("#place").click()
    expect(here.page.locator("#answer")).to_have_text("price: must be a multiple of 0.1")
    here.page.locator("#price").fill("cheap")  # the browser reports that this is not a number
    here.page.locator("#place").click()
    expect(here.page.locator("#price:invalid")).to_be_focused()


def test_order_can_be_placed_with_the_keyboard_alone(simulated: GatewayProcess, visit: Callable[..., Visit]) -> None:
    here = visit(simulated.port)
    here.is_live()
    page = here.page
    page.locator("#order [name=side]").first.focus()
    for key in ("ArrowRight", "Tab", "ArrowRight", "Tab"):  # sell; then market, which hides the price
        page.keyboard.press(key)
    expect(page.locator("#volume")).to_be_focused()
    page.keyboard.press("Control+a")
    page.keyboard.type("0.2")
    page.keyboard.press("Enter")
    expect(page.locator("#answer")).to_have_text(re.compile("Order placed"))
    expect(page.locator("#orders tr", has_text="Sell 0.2000").first).to_be_visible()


# ---- cut connections


def test_page_resumes_after_a_cut_without_missing_trades(
    simulated: GatewayProcess, observer: Observer, visit: Callable[..., Visit]
) -> None:
    here = visit(simulated.port)
    here.is_live()
    wait_until(lambda: bool(here.trades()), "a trade in the page", 60)
    observer.trade(8)
    here.page.locator("#tape tr").nth(9).wait_for()  # a position is made of eight trades
    market = simulated.connect("public?stream=btcusd.trades")
    here.page.locator("#cut").click()
    expect(here.page.locator("#news")).to_contain_text("The line is cut.")
    expect(here.page.locator("#place")).to_be_disabled()
    before = set(here.trades())
    observer.place(side="buy", ord_type="market", volume="0.7")
    observer.trade(2)
    assert set(here.trades()) == before
    meanwhile = set(observer.trades) - before
    here.page.locator("#cut").click()
    expect(here.page.locator("#news")).to_have_text(
        re.compile(
            r"^Back after [\d.]+ s, resumed at the cursor: \d+ events and \d+ market trades missed, "
            r"delivered now and marked below\.$"
        )
    )
    meanwhile = {trade for trade in meanwhile if trade > min(before)}  # the observer connected before the page
    wait_until(lambda: here.missed() >= meanwhile, f"the missed trades {meanwhile} are marked", 30)
    assert not here.missed() & before
    assert_as_observed(here, observer)
    assert here.page.locator("#tape .missed").count() > 0
    assert here.page.locator("#tape .hole").count() == 0
    with market as client:
        receive(client)
        observer.trade(4)
        seen = [receive(client)["btcusd.trades"]["trades"][0]["tid"] for _ in range(5)]

    def shown() -> list[int]:
        rows = here.page.locator("#tape tr")
        return [int(trade) for trade in rows.evaluate_all("rows => rows.map(row => Number(row.dataset.trade))")]

    wait_until(lambda: seen[-1] in shown(), "the page shows the last of them")
    assert [trade for trade in reversed(shown()) if seen[0] <= trade <= seen[-1]] == seen, "none is missing or twice"


def test_page_reconnects_by_itself_after_a_lost_connection(
    observer: Observer, line: Line, visit: Callable[..., Visit]
) -> None:
    here = visit(int(line.url.rstrip("/").rpartition(":")[2]))
    here.is_live()
    wait_until(lambda: bool(here.trades()), "a trade in the page", 60)
    for _ in range(2):
        before = line.carried
        line.cut()
        observer.trade(1)
        wait_until(lambda: line.carried > before, "the page connects again")  # noqa: B023
        expect(here.page.locator("#state")).to_have_text("live")
        expect(here.page.locator("#news")).to_contain_text("resumed at the cursor")
    assert_as_observed(here, observer)


def assert_as_observed(here: Visit, observer: Observer) -> None:
    """Check that the page shows every trade since its first one, once and in order, and the state of every order."""
    here.is_live()
    observer.trade(1)
    first, last = here.trades()[0], observer.trades[-1]
    wait_until(lambda: last in here.trades(), f"trade {last} in the page", 30)
    shown = here.trades()
    assert shown[: shown.index(last) + 1] == [trade for trade in observer.trades if first <= trade <= last]
    ended = {number: order for number, order in observer.orders.items() if order["state"] != "wait"}
    rows = here.page.locator("#orders tr").evaluate_all("rows => rows.map(row => [row.id, row.dataset.state])")
    for name, state in rows:
        number = int(name.removeprefix("order-"))
        if number in ended:
            assert state in ("wait", ended[number]["state"])


# ---- frames and programs


def test_frame_of_the_user_is_sent_and_its_answer_shown(simulated: GatewayProcess, visit: Callable[..., Visit]) -> None:
    here = visit(simulated.port)
    here.is_live()
    here.send({"event": "dance", "echo": 5})
    frame = here.page.locator("#frames code")
    expect(frame.filter(has_text='{"error":"Could not parse Type: Invalid event","echo":5}')).to_have_count(1)
    expect(here.page.locator("#news")).to_have_text("Could not parse Type: Invalid event")
    here.send("ping")
    expect(frame.filter(has_text=re.compile("^pong$"))).to_have_count(1)
    here.send("no JSON")
    expect(frame.filter(has_text="Could not parse message")).to_have_count(1)
    here.send({"event": "subscribe", "streams": ["btcusd.kline-1m"]})
    here.page.locator("#all").check()
    expect(frame.filter(has_text='{"btcusd.kline-1m":[').first).to_be_visible()


def test_frames_are_filtered_opened_and_copied(simulated: GatewayProcess, visit: Callable[..., Visit]) -> None:
    here = visit(simulated.port)
    here.context.grant_permissions(["clipboard-read", "clipboard-write"])
    here.is_live()
    page = here.page
    text = '{"event":"dance","price":9120.50,"of":[["1.0","2"],[]]}'
    here.send(text)
    page.locator("#filter").fill("DANCE price")
    expect(page.locator("#frames li")).to_have_count(1)
    page.locator("#frames summary").click()
    expect(page.locator("#frames pre")).to_have_text(
        '{\n  "event": "dance",\n  "price": 9120.50,\n  "of": [\n    ["1.0","2"],\n    []\n  ]\n}'
    )
    expect(page.locator("#hold")).to_be_checked()
    page.locator("#frames li button").click()
    expect(page.locator("#frames li button")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == text
    page.locator("#frames summary").click()
    expect(page.locator("#hold")).not_to_be_checked()
    page.locator("#filter").fill("Bearer")
    expect(page.locator("#frames li")).to_have_count(1)
    page.locator("#frames summary").click()
    expect(page.locator("#frames pre")).to_contain_text('"jwt": "Bearer …"')
    page.locator("#frames li button").click()
    expect(page.locator("#frames li button")).to_have_text("Copied")
    assert "Bearer ey" not in page.evaluate("navigator.clipboard.readText()")


def test_paces_of_the_book_show_the_same_book_with_fewer_bytes(
    simulated: GatewayProcess, visit: Callable[..., Visit]
) -> None:
    here, other = visit(simulated.port), visit(simulated.port)
    here.is_live()
    other.is_live()
    other.page.evaluate(f"""() => {{
        window.seen = {{}};
        const see = () => {{ const shown = ({LADDERS})(); window.seen[shown[0]] = shown; }};
        new MutationObserver(see).observe(document.getElementById("sequence"), {{ childList: true }});
    }}""")
    page = here.page
    page.locator("#all").check()
    before = page.locator("#asks tr").count()
    for pace in page.locator("#pace option").evaluate_all("options => options.map(option => option.value)"):
        page.locator("#filter").fill("")
        page.locator("#pace").select_option(pace)
        page.locator("#filter").fill(f'{{"btcusd.{pace}"')
        page.locator("#frames li").nth(1).wait_for()  # several frames, and the book is still correct
        expect(page.locator("body")).not_to_have_class("stale")
        shown = page.locator("#asks tr")
        expect(shown).to_have_count(5 if "@5" in pace else before)
        expect(page.locator("#rate")).to_have_text(re.compile(r"^(?!0\.0)[\d.]+ KB/s$"))
        wait_until(lambda: same_book(here, other), f"the same book as with every change: {pace}")


LADDERS = """() => [document.getElementById("sequence").textContent, ...["asks", "bids"].map(
    id => [...document.getElementById(id).rows].map(row => row.cells[0].textContent + row.cells[1].textContent))]"""
"""The number of the shown book, and its levels."""


def same_book(here: Visit, other: Visit) -> bool:
    """Return whether the other page has shown the book that this one shows now; raise if they differ."""
    number, asks, bids = here.page.evaluate(LADDERS)
    found = other.page.evaluate("number => window.seen[number]", number)
    if found:
        assert asks == found[1][-len(asks) :], "the best one is the last one"
        assert bids == found[2][: len(bids)]
    return bool(found)


# ---- layout and accessibility


# All widths, and both colors wide and narrow: no rule of the style sheets sets a color for some widths only.
@pytest.mark.parametrize(
    ("color", "size"),
    [("light", DESKTOP), ("dark", DESKTOP), ("dark", PHONE), ("light", TABLET)],
    ids=lambda value: value if isinstance(value, str) else str(value["width"]),
)
def test_page_fits_its_window_and_is_accessible(
    simulated: GatewayProcess, visit: Callable[..., Visit], color: str, size: Any
) -> None:
    here = visit(simulated.port, color=color, size=size)
    here.is_live()
    here.page.locator("#orders tr").first.wait_for()
    here.page.locator("#fills tr").first.wait_for()
    here.place("sell", "limit", "0.5", "20000")
    here.page.locator("#frames summary").first.click()
    here.send({"event": "subscribe", "streams": ["x" * 180 + ".trades@1ms"]})  # an error with a long word
    expect(here.page.locator("#news")).to_contain_text("cannot subscribe to xxx")
    wait_until(lambda: here.overflowing_cards() == [], "every card has room for its content")
    assert here.page.evaluate("document.documentElement.scrollWidth") == size["width"]
    assert here.controls_outside() == []
    assert violations(here.page) == []
    here.page.locator("#show-code").click()
    assert violations(here.page) == []
    here.page.locator("#close-code").click()
    here.page.locator("#dismiss").click()
    expect(here.page.locator("#banner")).to_be_hidden()
    background = here.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", background)[:3])) < 200) is (color == "dark")


def test_the_order_book_fits_its_card_when_the_window_changes(
    simulated: GatewayProcess, visit: Callable[..., Visit]
) -> None:
    here = visit(simulated.port)
    here.is_live()
    here.page.locator("#cut").click()  # without a connection no event redraws the book
    expect(here.page.locator("body")).to_have_class("stale")
    levels = here.page.locator("#asks tr").count
    before = levels()
    here.page.set_viewport_size({"width": DESKTOP["width"], "height": 1000})
    wait_until(lambda: levels() > before, "more levels in a higher window")
    tall = levels()
    here.page.set_viewport_size({"width": DESKTOP["width"], "height": 800})
    wait_until(lambda: levels() < tall, "fewer levels in a lower window")
    wait_until(lambda: here.overflowing_cards() == [], "every card has room for its content")


# ---- tokens


def test_page_of_another_origin_receives_no_token(simulated: GatewayProcess, browser: Browser) -> None:
    page = browser.new_page()
    address = f"http://127.0.0.1:{simulated.port}/console/session"
    for mode in ("cors", "no-cors"):
        ask = f"fetch('{address}', {{method: 'POST', mode: '{mode}'}}).then(a => a.text(), () => 'refused')"
        assert page.evaluate(ask) == "refused"
    page.close()


def test_without_a_token_a_real_exchange_shows_public_data_of_any_market(
    start: Callable[..., GatewayProcess], publisher: Publisher, visit: Callable[..., Visit]
) -> None:
    gateway = start(WEBSOCKET_CONSOLE="true")
    here = visit(gateway.port)
    page = here.page
    page.locator("#entry button").click()
    expect(page.locator("#state")).to_have_text("live")
    ticker = {"last": "15.0", "high": "16.0", "low": "14.0", "amount": "3.5", "price_change_percent": "+1.00%"}
    publisher.event("public.global.tickers", {"btcusd": ticker, "ethusd": {**ticker, "last": "7.0"}})
    expect(page.locator("#last")).to_have_text("15.0")
    expect(page.locator("#markets option")).to_have_count(2)
    page.locator("#market").fill("ethusd")
    page.locator("#market").press("Enter")
    # The answer to the new subscriptions: only then may the broker's messages come.
    expect(page.locator("#frames code", has_text='"ethusd.trades","ethusd.ob-inc"').first).to_be_visible()
    publisher.event("public.ethusd.ob-snap", {"asks": [["7.5", "2"]], "bids": [["7.0", "1"]], "sequence": 1})
    trade = {"tid": 1, "taker_type": "buy", "date": 1, "price": "7.2", "amount": "1.0"}
    publisher.event("public.ethusd.trades", {"trades": [trade]})
    expect(page.locator("#tape tr")).to_have_count(1)
    expect(page.locator("#asks td").first).to_have_text("7.5")
    expect(page.locator("#last")).to_have_text("7.2")
    page.locator("#cut").click()
    page.locator("#cut").click()
    expect(page.locator("#news")).to_have_text(re.compile(r"^Back after [\d.]+ s\. Market trades of that time may"))
    expect(page.locator("#tape .hole")).to_have_count(1)
    expect(page.locator("#no-order")).to_contain_text("Only with a token.")
    page.locator("#show-code").click()
    expect(page.locator("#program")).not_to_contain_text("TOKEN")


def test_pasted_token_shows_its_members_orders(
    start: Callable[..., GatewayProcess], publisher: Publisher, signer: Signer, visit: Callable[..., Visit]
) -> None:
    gateway = start(WEBSOCKET_CONSOLE="true")
    here = visit(gateway.port)
    page = here.page
    expect(page.locator("#order")).to_be_hidden()
    expect(page.locator("#no-orders")).to_be_visible()
    assert violations(page) == []
    page.locator("#token").fill("no.token.atall")
    page.locator("#entry button").click()
    expect(page.locator("#news")).to_contain_text("refuses this token")
    page.locator("#token").fill(signer.token("IDANN"))
    page.locator("#entry button").click()
    expect(page.locator("#state")).to_have_text("live")
    publisher.event("public.btcusd.ob-snap", {"asks": [["15.0", "2"]], "bids": [["14.0", "1"]], "sequence": 1})
    publisher.order("IDANN", 31, origin_volume="1.5", volume="1.0", trades_count=1, created_at="2026-01-01T10:00:00Z")
    expect(page.locator("#order-31")).to_be_visible()
    expect(page.locator("#order-31 button")).to_have_count(0)
    expect(page.locator("#asks td").first).to_have_text("15.0")


def test_second_cut_before_the_missed_events_have_come_hides_no_gap(visit: Callable[..., Visit]) -> None:
    connections = [Played(True, "subscribe"), Played(True, "ping"), Played(False)]
    with played_console(*connections) as port:
        page = visit(port).page
        page.locator("#token").fill("no.token.atall")
        page.locator("#entry button").click()
        expect(page.locator("#news")).to_contain_text(re.compile(r"^Back after "))
        expect(page.locator("#news")).to_contain_text("but events may be missing: read your orders over REST.")
        page.context.close()


def test_crossed_book_is_shown(visit: Callable[..., Visit]) -> None:
    with played_console(Played(True), asks=[["90", "1"]], bids=[["110", "2"]]) as port:
        page = visit(port).page
        page.locator("#token").fill("no.token.atall")
        page.locator("#entry button").click()
        expect(page.locator("#asks td").first).to_have_text("90")
        expect(page.locator("#gap")).to_have_text("spread -20.0")
        expect(page.locator("#depth path")).to_have_count(4)
        page.context.close()


def test_opened_frame_keeps_its_texts(visit: Callable[..., Visit]) -> None:
    with played_console() as port:
        page = visit(port).page
        indented = "text => import('/console/frames.mjs').then(module => module.indented(text))"
        shown = page.evaluate(indented, '{"note":"x{ }y[  ]","none":{ },"few":[],"one":[{}]}')
        assert shown == '{\n  "note": "x{ }y[  ]",\n  "none": {},\n  "few": [],\n  "one": [\n    {}\n  ]\n}'
        page.context.close()
