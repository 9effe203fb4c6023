"""The operator's page in Chromium, at the port of a real gateway with two workers."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Page, Route, expect
from websockets.sync.client import ClientConnection

from peatio_ws.server.operator_port.page import FOLDER
from peatio_ws.version import VERSION
from tests.live.conftest import CLIENT
from tests.live.test_operator_api import close_code, is_accepted
from tests.support import played_gateways
from tests.support.gateway import ROOT, GatewayProcess, Publisher, Signer, receive
from tests.support.openapi import TOKEN
from tests.support.played_gateways import HOSTILE, VISIBLE
from tests.support.servers import RabbitMQ, Redis, wait_until
from tests.support.visiting import DESKTOP, PHONE, TABLET, Visit, chromium, violations

SMALL = {"width": 320, "height": 640}
VIEWS = ("overview", "members", "member/ID0001", "closes", "trace/uid/ID0001", "revocations")


@pytest.fixture(scope="module")
def own_redis(folder: Path) -> Iterator[Redis]:
    server = Redis(folder / "redis-page")
    yield server
    server.kill()


@pytest.fixture(scope="module")
def gateway(folder: Path, broker: RabbitMQ, own_redis: Redis, signer: Signer) -> Iterator[GatewayProcess]:
    environ = {
        "AMQP_URL": broker.url,
        "REDIS_URL": own_redis.url,
        **signer.environ,
        "WEB_CONCURRENCY": "2",
        "WEBSOCKET_DRAIN_SECONDS": "0.5",
        "ADMIN_TOKEN": TOKEN,
    }
    process = GatewayProcess(folder, environ)
    yield process
    process.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def visit(browser: Browser, gateway: GatewayProcess) -> Iterator[Callable[..., Visit]]:
    visits: list[Visit] = []

    def go(**options: Any) -> Visit:
        visits.append(Visit(browser, gateway.metrics_port, **options))
        return visits[-1]

    yield go
    for one in visits:
        one.end()


@pytest.fixture
def here(visit: Callable[..., Visit]) -> Visit:
    """A visit of the unlocked page."""
    here = visit()
    unlock(here.page)
    return here


@pytest.fixture
def page(here: Visit) -> Page:
    return here.page


def unlock(page: Page, token: str = TOKEN) -> None:
    page.locator("#token").fill(token)
    page.locator("#enter").click()
    if token == TOKEN:
        expect(page.locator("#state")).to_have_text("live")


def confirm(page: Page, **fields: str | bool) -> None:
    """Fill in the dialog, and confirm it."""
    for name, value in fields.items():
        field = page.locator(f"#field-{name}")
        field.set_checked(value) if isinstance(value, bool) else field.fill(value)
    page.locator("#dialog [type=submit]").click()
    expect(page.locator("#dialog")).to_be_hidden()


def show(page: Page, view: str) -> None:
    page.evaluate("hash => { location.hash = hash }", view)
    expect(page.locator(f"#view-{view.partition('/')[0]}")).to_be_visible()


@pytest.fixture
def ann(gateway: GatewayProcess, signer: Signer) -> Iterator[ClientConnection]:
    """A connected member with two streams."""
    bearer = {"Authorization": f"Bearer {signer.token('IDANN')}"}
    path = "private?stream=order&stream=btcusd.trades&notices=1"
    with gateway.connect(path, additional_headers=bearer, max_queue=None) as client:
        receive(client)
        yield client


def test_modules_pass_the_type_check(compiler: None, tmp_path: Path) -> None:
    options = {
        "noEmit": True,
        "declaration": False,
        "emitDeclarationOnly": False,
        "rootDir": str(ROOT),
        "lib": ["es2024", "dom", "dom.iterable"],
    }
    config = {
        "extends": str(CLIENT / "tsconfig.json"),
        "compilerOptions": options,
        "files": [str(FOLDER / "operator.mjs")],
    }
    (tmp_path / "tsconfig.json").write_text(json.dumps(config))
    command = ["node_modules/.bin/tsc", "--project", str(tmp_path)]
    done = subprocess.run(command, cwd=CLIENT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout


# ---- what is wrong


def play(page: Page, report: dict[str, Any]) -> None:
    """Answer the page with this report from now on."""
    page.route("**/api/gateways", lambda route: route.fulfill(json=report))
    page.route("**/api/closes", lambda route: route.fulfill(json=played_gateways.closes(0)))


def has_problems(page: Page, *expected: tuple[str, str, str]) -> None:
    """Wait until the page names exactly these problems: their level, text and place."""
    script = "rows => rows.map(row => ['.chip', 'b', '.where'].map(part => row.querySelector(part).textContent))"
    rows = page.locator("#problems li")
    expect(rows).to_have_count(len(expected))
    expect(rows.locator("b")).to_have_text([what for _, what, _ in expected])
    assert [tuple(row) for row in rows.evaluate_all(script)] == [*expected]


def test_each_problem_is_named_with_its_urgency_and_place(visit: Callable[..., Visit]) -> None:
    page = visit().page
    page.route("**/api/**", played_gateways.playing())
    unlock(page)
    expect(page.locator("#verdict-text")).to_have_text("9 problems")
    one, two, three = VISIBLE, "web2.exchange.internal:8080", "web3.exchange.internal:8080"
    has_problems(
        page,
        ("now", "A worker does not answer", ""),
        ("now", "Not ready: not connected to the broker", f"{one}, worker 1000"),
        ("now", "The event loop is late", f"{one}, worker 1000"),
        ("now", "Clients were refused in the last two minutes", "web1.exchange.internal:8080"),
        ("can wait", "Redis is not connected", f"{one}, worker 1000"),
        ("can wait", "Draining", two),
        ("can wait", "A gateway is nearly full", three),
        ("can wait", "Many bytes wait for slow clients", three),
        ("can wait", "Connections ended with 1011 in the last ten minutes", "web1.exchange.internal:8080"),
        ("note", "Versions differ: 0.1.0, 0.2.0", ""),
    )
    assert page.title() == "(9) Operator · Peatio WebSocket gateway"


def test_gateways_and_workers_that_vanish_are_named(visit: Callable[..., Visit]) -> None:
    page, whole = visit().page, played_gateways.gateways(2, 2)
    play(page, whole)
    unlock(page)
    expect(page.locator("#verdict-text")).to_have_text("All is well")
    first, second = whole["gateways"]
    stuck = {**first, "workers": first["workers"][:1]}
    play(page, {"gateways": [stuck, second], "received_by": played_gateways.received(3, 2, silent=1)})
    has_problems(page, ("now", "A worker does not answer", "web1.exchange.internal:8080, worker 1001"))
    play(page, {"gateways": [first], "received_by": played_gateways.received(2, 1)})
    has_problems(page, ("now", "A gateway is gone", "web2.exchange.internal:8080"))
    page.get_by_role("button", name="It was stopped: forget it").click()
    expect(page.locator("#verdict-text")).to_have_text("All is well")
    empty = [{**first, "workers": [{**one, "connections": 10} for one in first["workers"]]}]
    play(page, {"gateways": empty, "received_by": played_gateways.received(2, 1)})
    has_problems(page, ("now", "Connections fell from 12480 to 20 within a minute", ""))


# ---- the token


def test_wrong_token_is_refused_and_the_right_one_stays_in_the_tab(visit: Callable[..., Visit]) -> None:
    here = visit()
    page = here.page
    for wrong in ("wrong", "grün, with blanks"):
        unlock(page, wrong)
        expect(page.locator("#refused")).to_have_text(re.compile("^This is not "))
        assert page.evaluate("sessionStorage.length") == 0
        expect(page.locator("#content")).to_be_hidden()
    here.expect_failures(401)
    unlock(page, f"Bearer {TOKEN}")
    expect(page.locator("#state")).to_have_text("live")
    expect(page.locator("#refused")).to_be_empty()
    assert page.evaluate("[localStorage.length, document.cookie]") == [0, ""]
    assert TOKEN not in page.content()
    page.reload()
    expect(page.locator("#state")).to_have_text("live")
    page.locator("#lock").click()
    expect(page.locator("#token")).to_be_focused()
    assert page.evaluate("sessionStorage.length") == 0
    page.reload()
    expect(page.locator("#entry")).to_be_visible()
    expect(page.locator("#content")).to_be_hidden()


# ---- gateways and workers


def test_workers_are_shown_with_their_figures(
    gateway: GatewayProcess, page: Page, ann: ClientConnection, publisher: Publisher
) -> None:
    pids = [str(pid) for pid in sorted(gateway.workers())]
    rows = page.locator("#workers tr:not(.gateway) th[scope=row] span")
    expect(rows).to_have_text(pids)
    expect(page.locator("#summary")).to_have_text(f"1 gateway with 2 workers, version {VERSION}")
    expect(page.locator("#verdict-text")).to_have_text("All is well")
    expect(page.locator("#workers .state")).to_have_text(["ready", "ready"])
    expect(page.locator("#chart-connections b").first).to_have_text("1")
    trade = {"tid": 1, "taker_type": "buy", "date": 1, "price": "7.2", "amount": "1.0"}

    def is_counted() -> bool:
        publisher.event("public.btcusd.trades", {"trades": [trade]})
        return page.locator("#chart-deliveries b").first.inner_text()[:1] not in "0\N{EN DASH}"

    wait_until(is_counted, "messages to clients are counted")
    assert page.locator("#chart-connections path.line").count() == 2
    label = page.locator("#chart-delay svg").get_attribute("aria-label")
    assert re.fullmatch(r"Event-loop delay .*: now \d+ ms, lowest .*, highest .*\.", label or "")


def test_rows_keep_the_focus_when_new_figures_arrive(page: Page) -> None:
    drain = page.locator("#workers button")
    drain.focus()
    before = page.locator("#as-of").inner_text()
    page.wait_for_function("before => document.getElementById('as-of').textContent !== before", arg=before)
    expect(drain).to_be_focused()


def test_gateway_is_drained_after_a_question_and_undone(gateway: GatewayProcess, page: Page) -> None:
    page.locator("#workers button").click()
    dialog = page.locator("#dialog")
    expect(dialog).to_contain_text("No other gateway is ready")
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    assert gateway.operators("/readyz")[0] == 200
    page.locator("#drain-all").click()
    page.locator("#field-sure").fill("drain")
    page.locator("#dialog [type=submit]").click()
    expect(dialog).to_be_visible()  # the words are not complete
    confirm(page, sure="drain all")
    expect(page.locator("#news")).to_contain_text(
        "All gateways drain: 0 connections. Received by 2 workers of 1 gateway."
    )
    expect(page.locator("#problems b")).to_have_text(["Draining"])
    expect(page.locator("#verdict-text")).to_have_text("1 problem")
    page.locator("#problems button").click()
    confirm(page)
    expect(page.locator("#verdict-text")).to_have_text("All is well")
    gateway.wait_ready()


# ---- members


def test_member_is_found_and_disconnected(page: Page, ann: ClientConnection) -> None:
    page.get_by_role("link", name="Members").click()
    expect(page.locator("#members-count")).to_contain_text("1 member with 1 connection; 0 anonymous connections.")
    page.locator("#uid").fill("bob")
    expect(page.locator("#no-member")).to_be_visible()
    page.locator("#uid").fill("ann")
    page.locator("#members a").click()
    expect(page.locator("#member-title")).to_have_text("IDANN")
    expect(page.locator("#member-title")).to_be_focused()
    card = page.locator(".connection")
    expect(card).to_contain_text("127.0.0.1")
    expect(card.locator(".streams .chip")).to_have_text(["order", "btcusd.trades"])
    page.locator("#member-actions").get_by_role("button", name="Send a notice…").click()
    confirm(page, text="Maintenance at <b>noon</b>")
    assert receive(ann) == {"notice": {"message": "Maintenance at <b>noon</b>"}}
    page.locator("#member-actions").get_by_role("button", name="Disconnect…").click()
    expect(page.locator("#dialog .final")).to_have_text("This cannot be undone.")
    confirm(page)
    assert close_code(ann) == 4403
    expect(page.locator("#news")).to_have_text("1 connection of IDANN closed. Received by 2 workers of 1 gateway.")
    expect(page.locator("#member-count")).to_have_text("Not online.")
    page.get_by_role("link", name="Overview").click()
    last = page.locator("#last-closes li").first
    expect(last).to_contain_text("4403")
    expect(last).to_contain_text("disconnected by the operator")
    expect(last.get_by_role("link")).to_have_text("IDANN")


def test_member_is_traced_while_it_is_disconnected(page: Page, ann: ClientConnection, publisher: Publisher) -> None:
    show(page, "member/IDANN")
    page.locator("#member-actions").get_by_role("button", name="Trace").click()
    lines = page.locator("#lines li")
    expect(lines.filter(has_text="connection")).to_contain_text("127.0.0.1")
    expect(page.locator("#trace-state")).to_have_text("Traced by 2 workers of 1 gateway, for 10 min.")
    publisher.order("IDANN", 31)
    expect(lines.first).to_contain_text(re.compile(r"delivered.*order · \d+ B"))
    page.locator("#pause").click()
    publisher.order("IDANN", 32)
    expect(page.locator("#line-count")).to_contain_text("1 new line")
    expect(lines.filter(has_text="delivered")).to_have_count(1)
    page.locator("#pause").click()
    expect(lines.filter(has_text="delivered")).to_have_count(2)
    show(page, "member/IDANN")
    page.locator("#member-actions").get_by_role("button", name="Disconnect…").click()
    confirm(page)
    wait_until(lambda: ann.close_code == 4403, "the member is disconnected")
    page.get_by_role("link", name="Trace").click()
    expect(lines.filter(has_text="closed")).to_contain_text("4403 · disconnected by the operator · by the gateway")
    page.locator("#clear").click()
    expect(lines).to_have_count(0)
    page.locator("#trace-button").click()
    expect(page.locator("#trace-state")).to_have_text("Stopped.")


def test_one_connection_of_two_is_disconnected(gateway: GatewayProcess, page: Page, signer: Signer) -> None:
    token = signer.token("IDTWO")
    with gateway.member(token) as one, gateway.member(token) as two:
        show(page, "member/IDTWO")
        expect(page.locator(".connection")).to_have_count(2)
        page.locator(".connection button").first.click()
        confirm(page)
        expect(page.locator(".connection")).to_have_count(1)
        wait_until(lambda: {one.close_code, two.close_code} == {4403, None}, "one is closed, and one stays")


def test_tokens_are_revoked_and_accepted_again(gateway: GatewayProcess, page: Page, signer: Signer) -> None:
    token = signer.token("IDREV")
    with gateway.member(token) as client:
        show(page, "member/IDREV")
        expect(page.locator("#member-count")).to_have_text("1 connection.")
        page.locator("#member-actions").get_by_role("button", name="Disconnect…").click()
        confirm(page, revoke=True)
        assert close_code(client) == 4403
    assert not is_accepted(gateway, token)
    expect(page.locator("#member-revocations")).to_contain_text("are revoked")
    page.locator("#member-actions").get_by_role("button", name="Revoke tokens…").click()
    confirm(page, jti="stolen")
    expect(page.locator("#member-revocations li")).to_have_count(2)
    show(page, "revocations")
    expect(page.locator("#revocations tr")).to_have_count(2)
    for left in (1, 0):
        page.locator("#revocations button").first.click()
        confirm(page)
        expect(page.locator("#revocations tr")).to_have_count(left)
    expect(page.locator("#no-revocation")).to_have_text("No token is revoked.")
    assert is_accepted(gateway, token)


def test_refused_command_says_why_and_its_dialog_stays(here: Visit) -> None:
    page = here.page
    why = "Redis at 127.0.0.1:6379 (REDIS_URL) did not accept the command: frozen"
    page.route("**/api/notices", lambda route: route.fulfill(status=503, json={"error": why}))
    page.locator("#notice").click()
    page.locator("#field-text").fill("hello")
    page.locator("#dialog [type=submit]").click()
    expect(page.locator("#dialog .fault")).to_have_text(why)
    expect(page.locator("#field-text")).to_have_value("hello")
    here.expect_failures(503)


def test_outcome_of_a_command_is_shown_after_its_dialog_was_closed(here: Visit) -> None:
    page, commands = here.page, list[Route]()
    page.route("**/api/notices", lambda route: commands.append(route))
    ends = [
        (
            {"json": {"sent": 3, "received_by": {"workers": 2, "gateways": 1, "silent": 0}}},
            "Notice sent to 3 connections.",
        ),
        ({"status": 503, "json": {"error": "frozen"}}, "Send a notice to all clients: frozen"),
    ]
    for end, shown in ends:
        page.locator("#notice").click()
        page.locator("#field-text").fill("hello")
        with page.expect_request("**/api/notices"):
            page.locator("#dialog [type=submit]").click()
        page.locator("#dialog").get_by_text("Cancel").click()
        page.locator("#drain-all").click()
        page.locator("#field-sure").fill("drain")
        commands.pop().fulfill(**end)
        expect(page.locator("#news")).to_contain_text(shown)
        expect(page.locator("#field-sure")).to_have_value("drain")
        expect(page.locator("#dialog")).to_be_visible()
        page.locator("#dialog").get_by_text("Cancel").click()
    here.expect_failures(503)


# ---- hostile texts


def test_hostile_client_cannot_write_into_the_page(gateway: GatewayProcess, page: Page, signer: Signer) -> None:
    name = HOSTILE[:200]
    bearer = {"Authorization": f"Bearer {signer.token(name)}"}
    with gateway.connect("private?stream=order", additional_headers=bearer) as client:
        receive(client)
        show(page, "members")
        expect(page.locator("#members a")).to_have_text(VISIBLE)
        page.locator("#members a").click()
        expect(page.locator("#member-title")).to_have_text(VISIBLE)
        expect(page.locator("#member-count")).to_have_text("1 connection.")
        client.close(4999, "<b>bye</b>\u202e")
    show(page, "closes")
    page.locator("#filter-closes [value=client]").check(force=True)  # a label covers it
    ended = page.locator("#closes li", has_text="4999")
    expect(ended.locator(".reason")).to_have_text("<b>bye</b>\\u{202e}")
    expect(ended.get_by_role("link")).to_have_text(VISIBLE)
    assert_harmless(page)


def test_hostile_texts_are_shown_as_they_are_in_every_view(page: Page) -> None:
    page.route("**/api/**", played_gateways.playing())
    expect(page.locator("#verdict-text")).to_contain_text("problems")
    for view in VIEWS:
        show(page, view.replace("ID0001", quote(HOSTILE, safe="")))
        expect(page.locator(f"#view-{view.partition('/')[0]}")).to_contain_text("onerror=hacked=1")
        assert_harmless(page)
    page.locator("#revocations button").first.click()
    expect(page.locator("#dialog .of")).to_have_text(VISIBLE)
    assert_harmless(page)


def assert_harmless(page: Page) -> None:
    found = "[typeof hacked, document.querySelectorAll('main :is(img, script, b b, iframe), dialog img').length]"
    assert page.evaluate(found) == ["undefined", 0]


# ---- without Redis, and without an answer


def test_page_shows_this_gateway_while_redis_is_down(here: Visit, own_redis: Redis, gateway: GatewayProcess) -> None:
    page = here.page
    own_redis.kill()
    try:
        expect(page.locator("#missing")).to_contain_text("Redis at 127.0.0.1:")
        expect(page.locator("#missing")).to_contain_text(
            "Missing: other gateways, members, revocations and all commands."
        )
        expect(page.locator("#problems")).to_contain_text("Redis is not connected")
        expect(page.locator("#workers .state").first).to_have_text("ready")
        show(page, "members")
        expect(page.locator("#members-count")).to_contain_text("did not accept the command")
    finally:
        own_redis.start()
    show(page, "overview")
    expect(page.locator("#missing")).to_be_hidden()
    wait_until(lambda: "not connected" not in page.locator("#problems").inner_text(), "Redis is used again")
    here.expect_failures(503)


def test_page_says_since_when_the_gateway_does_not_answer(here: Visit) -> None:
    page = here.page
    page.route("**/api/**", lambda route: route.abort())
    expect(page.locator("#state")).to_have_text("no answer")
    expect(page.locator("#news")).to_have_text(re.compile(r"^The gateway has not answered since [\d:]+\."))
    page.unroute("**/api/**")
    expect(page.locator("#state")).to_have_text("live")
    expect(page.locator("#banner")).to_be_hidden()
    here.complaints.clear()  # one for each request


def test_lockout_of_the_address_does_not_lock_the_page(here: Visit) -> None:
    page = here.page
    refused = {
        "status": 429,
        "headers": {"Retry-After": "2"},
        "json": {"error": "too many requests with a wrong token"},
    }
    page.route("**/api/gateways", lambda route: route.fulfill(**refused))
    expect(page.locator("#state")).to_have_text("locked out")
    expect(page.locator("#news")).to_contain_text("The gateway answers again in 2 s")
    page.unroute("**/api/gateways")
    expect(page.locator("#state")).to_have_text("live")
    here.expect_failures(429)


def test_times_are_those_of_the_gateway_if_the_browsers_clock_is_wrong(visit: Callable[..., Visit]) -> None:
    page = visit().page
    page.clock.install(time=datetime.now(UTC) - timedelta(hours=5))
    page.reload()
    unlock(page)
    expect(page.locator("#workers tbody small").first).to_have_text(
        re.compile(r"^up (\d+ min )?[\d.]+ m?s$|^up \d+ min$")
    )


# ---- many gateways and members, layout, keyboard


def test_ten_thousand_members_and_forty_workers_are_shown(page: Page) -> None:
    page.route("**/api/**", played_gateways.playing(hosts=10, workers=4, online=10_000))
    expect(page.locator("#workers tr:not(.gateway) .state")).to_have_count(40)
    expect(page.locator("#problems b").first).to_have_text("A worker does not answer")
    show(page, "members")
    expect(page.locator("#members-count")).to_contain_text("10,000 members")
    expect(page.locator("#members tr")).to_have_count(100)
    page.locator("#more-members").click()
    expect(page.locator("#members tr")).to_have_count(600)
    page.locator("#uid").fill("00009999")
    expect(page.locator("#members tr")).to_have_count(1)
    page.locator("#uid").press("Enter")
    expect(page.locator("#member-title")).to_have_text("00009999")


def test_keyboard_is_enough(page: Page, ann: ClientConnection) -> None:
    page.locator(".skip").focus()
    for name in ("Overview", "Members"):
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name=name)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#members-title")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.type("IDANN")
    page.keyboard.press("Enter")
    expect(page.locator("#member-title")).to_be_focused()
    expect(page.locator("#member-count")).to_have_text("1 connection.")
    for _ in range(2):
        page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Revoke tokens…")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#field-jti")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Revoke tokens…")).to_be_focused()


# All widths, and both colors wide and narrow: no rule of the style sheets sets a color for some widths only.
@pytest.mark.parametrize(
    ("color", "size"),
    [("light", DESKTOP), ("dark", DESKTOP), ("light", TABLET), ("dark", PHONE), ("light", SMALL)],
    ids=lambda value: value if isinstance(value, str) else str(value["width"]),
)
def test_every_view_fits_its_window_and_is_accessible(visit: Callable[..., Visit], color: str, size: Any) -> None:
    here = visit(color=color, size=size)
    page = here.page
    assert violations(page) == []
    page.route("**/api/**", played_gateways.playing())
    unlock(page)
    for view in VIEWS:
        show(page, view)
        expect(page.locator(f"#view-{view.partition('/')[0]}")).to_contain_text("onerror=hacked=1")
        assert page.evaluate("document.documentElement.scrollWidth") == size["width"], view
        assert here.controls_outside() == []
        assert violations(page) == [], view
    page.locator("#revocations button").first.click()
    assert page.evaluate("document.documentElement.scrollWidth") == size["width"]
    assert violations(page) == []
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", background)[:3])) < 200) is (color == "dark")


def test_without_a_token_in_the_environment_there_is_no_page(start: Callable[..., GatewayProcess]) -> None:
    gateway = start()
    for path in ("/", "/page/operator.mjs", "/page/base.css"):
        assert gateway.operators(path)[0] == 404


def test_address_with_ten_wrong_tokens_is_told_when_to_come_back(visit: Callable[..., Visit]) -> None:
    """The last test, because the address stays locked out of this gateway for a minute."""
    here = visit()
    page = here.page
    locked_out = page.locator("#refused", has_text="Ten requests from this address had a wrong token.")
    for number in range(12):
        unlock(page, f"wrong{number}")
        expect(page.locator("#refused")).not_to_be_empty()
        if locked_out.count():
            break
    expect(locked_out).to_have_text(re.compile(r"The gateway answers again in \d+ s, to the right token, too\.$"))
    expect(page.locator("#enter")).to_be_disabled()
    here.expect_failures(401, 429)
