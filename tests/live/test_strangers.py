"""The pages and examples that begin with `make run`, as a stranger runs them: in a new checkout, where `make run` makes
the environment, with bash and only what the page says.
"""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Error, Page, expect
from websockets.sync.client import connect

from tests.live.conftest import EXAMPLES, VITE
from tests.support import documents, stranger
from tests.support.gateway import ROOT, WAIT, receive
from tests.support.servers import RabbitMQ, free_port
from tests.support.stranger import INSTALL_SECONDS, PAGE_SECONDS, Checkout, Program
from tests.support.visiting import chromium
from tests.support.visitor import Visitor

BOT = "docs/how-to/market-making-bot.md"
TRADING = "docs/how-to/trading-page.md"
PAGES = ["README.md", "clients/python/README.md", "clients/js/README.md", "docs/how-to/command-line-tools.md", BOT]
FIRST = [
    ("README.md", ".venv/bin/python client.py"),
    ("clients/python/README.md", ".venv/bin/python first.py"),
    ("clients/js/README.md", "node first.mjs"),
]
"""Pages, and the command that runs the program on the page."""
CLIENTS = ["client.py", "client.mjs", "client.rb"]
PRINTING = [*CLIENTS, "orders.py", "orders_asyncio.py", "orders.mjs", "every_channel.py"]
ORDER = {"event": "place_order", "market": "btcusd", "side": "sell", "price": "30000", "volume": "0.5"}
SNIPPETS = ROOT / "peatio_ws" / "console" / "static" / "snippets.mjs"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """A checkout. Its gateway was started by the first command of the trading page: `make run`, for one more origin."""
    (serve,) = [block.text for block in documents.blocks(ROOT / TRADING) if "make run" in block.text]
    checkout = Checkout(stranger.installed(tmp_path_factory), serve)
    yield checkout
    checkout.gateway.end(signal.SIGINT)


@pytest.mark.parametrize("page", PAGES)
def test_the_page_does_what_it_shows(page: str, checkout: Checkout, tmp_path: Path) -> None:
    checkout.run_page(documents.blocks(ROOT / page), tmp_path)


@pytest.mark.parametrize(("page", "command"), FIRST)
def test_first_programs_end_quietly_when_nothing_reads_them(
    page: str, command: str, checkout: Checkout, tmp_path: Path
) -> None:
    blocks = list(documents.blocks(ROOT / page))
    for block in blocks:
        if block.language == "sh" and re.match(r"(\S*pip|npm) install\b.* \./clients/", block.text):
            checkout.install(block.text)
    file = command.split()[-1]
    (program,) = [block.text for block in blocks if block.how == f"file {file}"]
    # Node looks for packages from the folder of the program.
    (checkout.folder / file).write_text(checkout.here(program))
    run = checkout.run(f"set -o pipefail\n{command} | head -n 1")
    try:
        assert run.process.wait(PAGE_SECONDS) == 0, run.said()
        assert not re.search(r"Error|Traceback|EPIPE", run.said())
    finally:
        run.end()


# ---- how-to pages


def test_the_trading_page_is_right_after_a_cut_and_a_new_exchange(checkout: Checkout) -> None:
    blocks = list(documents.blocks(ROOT / TRADING))
    (page,) = [block.text for block in blocks if block.how == "file index.html"]
    assert len(page.splitlines()) <= 60, "as its heading says"
    start, copy, serve = [block.text for block in blocks if block.language == "sh"]
    (place,) = [block.text for block in blocks if block.language == "js"]
    assert checkout.run(copy).process.wait(PAGE_SECONDS) == 0
    folder = checkout.folder / "../page"
    (folder / "index.html").write_text(checkout.here(page))
    server = checkout.run(f"cd ../page\n{serve}")
    try:
        with chromium() as browser:
            shown = browser.new_page()
            address = f"http://127.0.0.1:{checkout.ports['8000']}/#{checkout.environ['TOKEN']}"
            checkout.wait_for_http(int(checkout.ports["8000"]), "/")
            shown.goto(address)
            expect(shown.locator("#state")).to_have_text("live")
            expect(shown.locator("#bid")).not_to_be_empty()
            shown.locator("#trades li").first.wait_for()
            shown.locator("#orders li").first.wait_for()
            shown.locator("#fills li").first.wait_for()
            place_on_the_page(shown, checkout.here(place))
            shown.context.set_offline(True)
            expect(shown.locator("#state")).to_have_text("reconnecting")
            shown.context.set_offline(False)
            expect(shown.locator("#state")).to_have_text("live")
            shown.locator("#orders").evaluate(
                "list => list.append(Object.assign(document.createElement('li'), {id: 'old'}))"
            )
            checkout.gateway.end(signal.SIGINT)
            expect(shown.locator("#state")).to_have_text("reconnecting")
            shown.context.set_offline(True)
            checkout.start(start)
            fill = fill_of(checkout)
            shown.context.set_offline(False)
            expect(shown.locator("#state")).to_have_text("live")
            expect(shown.locator(f"#fill-{fill}"), "no event told the page of it").to_have_count(1)
            expect(shown.locator("#old"), "the new exchange does not know it").to_have_count(0)
            shown.locator("#orders li").first.wait_for()
    finally:
        server.end()


def place_on_the_page(shown: Page, place: str) -> None:
    """Place an order with the page's function, from another origin than the exchange's, and one that is refused."""
    wanted = {"market": "btcusd", "side": "sell", "ord_type": "limit", "price": "21000", "volume": "0.5"}
    call = f"async (wanted) => {{ const token = () => location.hash.slice(1); {place}; return place(wanted); }}"
    order = shown.evaluate(call, wanted)
    assert order["state"] == "pending"
    expect(shown.locator(f'[id="{order["id"]}"]')).to_have_text("sell at 21000.0")
    with pytest.raises(Error, match=r"market\.order\.invalid_side"):
        shown.evaluate(call, {**wanted, "side": "ask"})


def test_trading_page_stops_reading_with_a_token_that_stays_refused() -> None:
    (page,) = [block.text for block in documents.blocks(ROOT / TRADING) if block.how == "file index.html"]
    (read,) = re.findall(r"const read = async .*?\n  };\n", page, re.DOTALL)
    program = f"""
        class Refused extends Error {{}}
        const token = () => "the same", asked = [];
        const answer = {{ ok: false, status: 401 }};
        globalThis.fetch = async (_, {{ headers }}) => (asked.push(headers.Authorization), answer);
        {read}
        await read("orders").catch((error) => console.log(error instanceof Refused, asked.join()));"""
    command = ["node", "--input-type=module", "-e", program]
    assert subprocess.check_output(command, text=True, timeout=WAIT) == "true Bearer the same\n"


def fill_of(checkout: Checkout) -> int:
    """Trade as the member, and return the id of the trade."""
    headers = {"Authorization": f"Bearer {checkout.environ['TOKEN']}"}
    with connect(f"ws://127.0.0.1:{checkout.port}/private?stream=trade", additional_headers=headers) as member:
        member.send(json.dumps({**ORDER, "ord_type": "market", "price": None}))
        while "trade" not in (frame := receive(member)):
            pass
        return int(frame["trade"]["id"])


def test_vites_development_server_gives_page_and_gateway_one_origin(checkout: Checkout, tmp_path: Path) -> None:
    """The gateway's `API_CORS_ORIGINS` does not contain this origin."""
    (config,) = [block.text for block in documents.blocks(ROOT / TRADING) if block.language == "javascript"]
    (tmp_path / "vite.config.js").write_text(checkout.here(config))
    checkout.install(f"npm install --silent --prefix {tmp_path} {VITE}")
    port = free_port()
    server = checkout.run(f"cd {tmp_path} && exec node_modules/.bin/vite --host 127.0.0.1 --strictPort --port {port}")
    page = f"http://127.0.0.1:{port}"
    try:
        server.wait_for("Local")
        socket = f"ws://127.0.0.1:{port}/api/v2/ranger/public?stream=btcusd.trades"
        with connect(socket, origin=page) as client:  # type: ignore[arg-type]
            assert receive(client) == {"success": {"message": "subscribed", "streams": ["btcusd.trades"]}}
            assert "btcusd.trades" in receive(client)
        headers = {"Authorization": f"Bearer {checkout.environ['TOKEN']}"}
        request = urllib.request.Request(f"{page}/api/v2/market/orders", headers=headers)
        with urllib.request.urlopen(request, timeout=PAGE_SECONDS) as answer:
            assert json.load(answer)
    finally:
        server.end()


def test_the_bot_survives_a_lost_exchange_and_leaves_no_order(checkout: Checkout, tmp_path: Path) -> None:
    """The page's bot, with everything lost that the exchange knew; then ended with Ctrl-C."""
    (block,) = [block for block in documents.blocks(ROOT / BOT) if block.how == "file bot.py"]
    limit = "LIMIT = Decimal(3)"
    assert limit in block.text
    program = block.text.replace(limit, 'LIMIT = Decimal("0.7")')  # reached sooner
    (tmp_path / "bot.py").write_text(checkout.here(program))
    checkout.install(".venv/bin/pip install ./clients/python")
    make = [".venv/bin/python", "-m", "peatio_ws", "token", "--uid", "IDMAKER2"]
    token = subprocess.check_output(make, cwd=checkout.folder, env=checkout.environ, text=True).strip()
    bot = checkout.run(f"exec .venv/bin/python {tmp_path}/bot.py", TOKEN=token)
    try:
        two_fills = r"(?s)^.*?order filled.*?order filled[^\n]*\n"
        check_orders_stay_within(Decimal("0.7"), bot.wait_for(two_fills)[0])
        checkout.gateway.end(signal.SIGKILL)
        checkout.start("make run")
        bot.wait_for("disconnected[^\n]*\n")
        check_orders_stay_within(Decimal("0.7"), bot.wait_for(r"(?s)^.*?order filled")[0])
        assert bot.end(signal.SIGINT) == 0
        request = urllib.request.Request(
            f"http://127.0.0.1:{checkout.port}/api/v2/market/orders?state=wait",
            headers={"Authorization": f"Bearer {token}"},
        )
        with urllib.request.urlopen(request, timeout=PAGE_SECONDS) as answer:
            assert json.load(answer) == []
    finally:
        bot.end()


def check_orders_stay_within(limit: Decimal, said: str) -> None:
    """The bot places no order that would take its position beyond the limit. It begins without a position."""
    position, ordered = Decimal(0), 0
    for line in said.splitlines():
        if found := re.search(r"position (\S+)$", line):
            position = Decimal(found[1])
        elif found := re.match(r"(buy|sell) (\S+) at", line):
            ordered += 1
            assert abs(position + Decimal(found[2]) * (1 if found[1] == "buy" else -1)) <= limit, said
    assert ordered, said


def test_the_bots_page_shows_that_no_fill_is_lost_over_a_restart(checkout: Checkout, broker: RabbitMQ) -> None:
    """Its commands in three terminals. Only the rate is higher, and ports and RabbitMQ are those of the tests."""
    blocks = list(documents.blocks(ROOT / BOT))
    (program,) = [block.text for block in blocks if block.how == "file fills.py"]
    start, watch, publish = [block.text for block in blocks if "three terminals" in (block.reason or "")]
    port, metrics_port = free_port(), free_port()

    def here(text: str) -> str:
        return text.replace("amqp://guest:guest@127.0.0.1:5672/", broker.url).replace(":8080", f":{port}")

    *setup, serve = here(start).splitlines()
    made = checkout.run("\n".join([*setup, "env | grep -E '^(AMQP|JWT)_'"]))
    assert made.process.wait(PAGE_SECONDS) == 0, made.said()
    variables = dict(line.split("=", 1) for line in made.said().splitlines() if re.match("(AMQP|JWT)_", line))
    variables |= {"WEBSOCKET_PORT": str(port), "METRICS_PORT": str(metrics_port)}
    (checkout.folder / "fills.py").write_text(here(program))
    checkout.install(".venv/bin/pip install ./clients/python")
    programs = [checkout.run(f"exec {serve}", **variables)]
    try:
        checkout.wait_for_http(metrics_port, "/readyz")
        programs.append(watching := checkout.run(here(watch)))
        watching.wait_for("connected")
        programs.append(checkout.run(here(publish).replace("--rate 5", "--rate 50")))
        said = watching.wait_for(r"(?ms)\A.*^20$")[0]
        assert programs[0].end(signal.SIGINT) == 0
        programs.append(checkout.run(f"exec {serve}", **variables))
        said += watching.wait_for(r"(?ms)\A(?=.*^complete: True$)(?=.*^150$).*")[0]
        assert re.findall(r"(?m)^\d+$", said) == [str(number) for number in range(1, 151)]
        assert "gap" not in said
    finally:
        for running in reversed(programs):
            running.end()


def test_bot_ends_without_a_connection_and_lists_its_orders(checkout: Checkout, tmp_path: Path) -> None:
    (block,) = [block for block in documents.blocks(ROOT / BOT) if block.how == "file bot.py"]
    (tmp_path / "bot.py").write_text(checkout.here(block.text))
    bot = checkout.run(f"exec .venv/bin/python {tmp_path}/bot.py")
    try:
        bot.wait_for("(buy|sell) 0.5 at")
        checkout.gateway.end(signal.SIGKILL)
        bot.wait_for("disconnected: ")
        assert bot.end(signal.SIGINT) == 0
        assert re.search(r"perhaps still in the book: order \d+, (buy|sell) at \d+", bot.said())
        assert "not connected" in bot.said()
    finally:
        bot.end()
        checkout.start("make run")


def test_the_first_client_for_a_browser_runs_in_one(checkout: Checkout) -> None:
    page = ROOT / "docs" / "getting-started.md"
    (program,) = [block.text for block in documents.blocks(page) if block.language == "javascript"]
    with chromium() as browser:
        shown = browser.new_page()
        shown.goto(f"http://127.0.0.1:{checkout.port}/")
        with shown.expect_console_message(lambda message: "btcusd.ob-inc" in message.text):
            shown.evaluate(f"() => {{ {checkout.here(program)} }}")


# ---- examples


def example(file: str, checkout: Checkout, then: str = "") -> Program:
    """Run the commands in the head of an example; the last one goes on. `orders_asyncio.py` is run as `orders.py`.

    Args:
        then: follows the last command.
    """
    described = file.replace("_asyncio", "")
    first, *lines = head(described)
    if not first.startswith("apt-get"):  # tests/install-servers has done that
        checkout.install(first)
    command = "set -o pipefail\n" + "\n".join(lines).replace(described, file) + then
    return checkout.run(command, URL=f"ws://127.0.0.1:{checkout.port}/")


def head(file: str) -> list[str]:
    """Return the lines of commands in the description of an example."""
    text = re.split(r"\n(?:import|from|require) ", (EXAMPLES / file).read_text())[0]
    return [line.strip() for line in re.findall(r"^(?://|#)?( {4,9}\S.*)$", text, re.MULTILINE)]


@pytest.mark.parametrize("file", CLIENTS)
def test_client_examples_print_the_members_events(file: str, checkout: Checkout) -> None:
    program = example(file, checkout)
    try:
        program.wait_for("^connected$|\nconnected\n")
        program.wait_for(r'\{"(order|trade|orderbook)":\{')
    finally:
        program.end()


@pytest.mark.parametrize("file", PRINTING)
def test_examples_end_without_a_traceback_when_nothing_reads_them(file: str, checkout: Checkout) -> None:
    program = example(file, checkout, " | head -n 2")
    try:
        assert program.process.wait(PAGE_SECONDS) == 0
        assert not re.search(r"Error|Traceback|EPIPE", program.said())
    finally:
        program.end()


@pytest.mark.parametrize("file", ["orders.py", "orders_asyncio.py", "orders.mjs"])
def test_examples_with_orders_read_them_at_their_start(file: str, checkout: Checkout) -> None:
    """Each prints an order that was placed before it started, and that no event mentions."""
    headers = {"Authorization": f"Bearer {checkout.environ['TOKEN']}"}
    with connect(f"ws://127.0.0.1:{checkout.port}/private?stream=order", additional_headers=headers) as member:
        member.send(json.dumps(ORDER))
        while (frame := receive(member)).get("order", {}).get("price") != "30000.0":
            pass
    program = example(file, checkout)
    try:
        found: dict[str, Any] = json.loads(program.wait_for(r"(?m)^(\{.*\})$")[1])
        assert found[str(frame["order"]["id"])] == "wait"
        assert len(found) >= 2, "the event's order, too"
    finally:
        program.end()


def test_the_typed_example_prints_every_channel(checkout: Checkout) -> None:
    program = example("every_channel.py", checkout)
    try:
        wanted = {"ticker", "market trade", "candle", "book", "change", "order", "trade", "balance"}
        while wanted:
            wanted.discard(program.wait_for(rf"(?m)^({'|'.join(sorted(wanted))}) .*$")[1])
    finally:
        program.end()


@pytest.mark.parametrize("site", ["flask", "django"])
def test_members_of_the_applications_send_each_other_messages(site: str, checkout: Checkout) -> None:
    port = free_port()
    with application(site, checkout, port):
        ann, bob = (Visitor(port).log_in(name) for name in ("ann", "bob"))
        with ann.messages() as ann_page, bob.messages() as bob_page:
            ann.post("/notify", to="bob", text="hello")
            assert receive(bob_page) == {"message": {"from": "ann", "text": "hello"}}
            bob.post("/notify", to="ann", text="good morning")
            assert receive(ann_page) == {"message": {"from": "bob", "text": "good morning"}}


def test_another_process_sends_a_message_with_djangos_second_command(checkout: Checkout, broker: RabbitMQ) -> None:
    port = free_port()
    with application("django", checkout, port, broker.url), Visitor(port).log_in("ann").messages() as page:
        (notify,) = [block for block in readme("django") if "notify" in block]
        sent = checkout.run(notify.replace("amqp://…", broker.url))
        assert sent.process.wait(PAGE_SECONDS) == 0, sent.said()
        assert receive(page) == {"message": {"from": "the exchange", "text": "Your document is accepted."}}


@contextlib.contextmanager
def application(site: str, checkout: Checkout, port: int, broker: str = "memory://") -> Iterator[None]:
    """Run the first block of an application's README, with a broker instead of the one in it.

    Its last command serves; the others install the application.
    """
    *setup, serve = readme(site)[0].replace("memory://", broker).splitlines()
    for command in setup:
        checkout.install(command)
    program = checkout.run(serve, WEBSOCKET_PORT=str(port), METRICS_PORT=str(free_port()))
    try:
        checkout.wait_for_http(port, "/")
        yield
    finally:
        program.end(signal.SIGTERM)


def readme(site: str) -> list[str]:
    """Return the commands in the README of an application."""
    blocks = documents.blocks(EXAMPLES / f"{site}_app" / "README.md")
    return [block.text for block in blocks if block.language == "sh"]


def test_the_tests_of_the_flask_application_pass(checkout: Checkout) -> None:
    program = checkout.run("\n".join(head("flask_app/test_messages.py")))
    assert program.process.wait(INSTALL_SECONDS) == 0, program.said()
    assert "2 passed" in program.said()


def test_each_example_is_run_by_a_stranger() -> None:
    """Those with commands in their heads. The others are modules and parts of applications."""
    with_commands = {str(path.relative_to(EXAMPLES)) for path in EXAMPLES.rglob("*") if is_program(path)}
    assert with_commands == {*PRINTING, "echo.py", "websocket_server.py", "flask_app/test_messages.py"} - {
        "orders_asyncio.py"
    }


def is_program(path: Path) -> bool:
    if "node_modules" in path.parts or path.suffix not in (".py", ".mjs", ".rb"):
        return False
    return bool(head(str(path.relative_to(EXAMPLES))))


def test_the_echo_service_echoes(checkout: Checkout) -> None:
    port = free_port()
    program = checkout.run("\n".join(head("echo.py")), GUNICORN_CMD_ARGS=f"--bind 127.0.0.1:{port}")
    try:
        program.wait_for("Listening at")
        with connect(f"ws://127.0.0.1:{port}/") as client:
            client.send("hello")
            assert client.recv(timeout=WAIT) == "hello"
    finally:
        program.end(signal.SIGTERM)


def test_the_gateway_runs_under_gevent_websockets_own_server(checkout: Checkout) -> None:
    port = free_port()
    program = checkout.run("\n".join(head("websocket_server.py")), WEBSOCKET_PORT=str(port))
    try:
        checkout.wait_for_http(port, "/")
        with connect(f"ws://127.0.0.1:{port}/") as client:
            assert "challenge" in receive(client)
    finally:
        program.end(signal.SIGTERM)


# ---- the console's programs


WSCAT = 'npx() { tail -f /dev/null | node_modules/.bin/"${@:2}"; }; . '  # as from a terminal: its input stays open


@pytest.mark.parametrize(
    ("language", "install", "command"),
    [
        ("python", ".venv/bin/pip install ./clients/python", "exec .venv/bin/python "),
        ("javascript", "npm install --silent --no-save ./clients/js", "exec node "),
        ("wscat", "npm install --silent --no-audit --no-fund --no-save wscat", WSCAT),
    ],
)
def test_programs_that_the_console_shows_run(language: str, install: str, command: str, checkout: Checkout) -> None:
    shown = {
        "url": f"ws://127.0.0.1:{checkout.port}/",
        "market": "btcusd",
        "streams": ["order", "trade", "btcusd.trades", "global.tickers"],
        "view": {"every": 1000, "depth": 5},
        "bookStream": "btcusd.ob-top@5/1000ms",
        "hasToken": True,
        "request": {"event": "create_deposit_address", "currency": "btc"},
    }
    module = f"""import {{ {language} }} from {json.dumps(SNIPPETS.as_uri())};
        process.stdout.write({language}({json.dumps(shown)}));"""
    text = subprocess.check_output(["node", "--input-type=module", "-e", module], text=True)
    name = f"./shown.{'mjs' if language == 'javascript' else 'any'}"
    (checkout.folder / name).write_text(text)
    checkout.install(install)
    program = checkout.run(command + name)
    try:
        program.wait_for("Address requested")
        program.wait_for(r"btcusd\.ob-top@5/1000ms")
    finally:
        program.end()
