"""`listen`: which token it sends, what it prints, and its exit status."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys

import pytest

from peatio_ws.cli import listen as listen_module
from peatio_ws.cli.listener import follow as listen_follow
from tests.support.gateway import ROOT
from tests.unit.cli.small_server import BOOK, TRADES, WAIT, Peer, frames, listen, server, subscribed


def test_given_token_is_sent_for_public_streams_too() -> None:
    """If the gateway refuses the client with this token, it refuses `listen` as well."""
    with server(lambda peer: peer.send(subscribed("btcusd.trades"), TRADES)) as served:
        listen(f"{served.url}/public --stream btcusd.trades --count 1", JWT="T")
        assert served.bearer == "Bearer T"


def test_public_streams_need_no_token_and_no_key() -> None:
    def script(peer: Peer) -> None:
        assert peer.streams == ["btcusd.ob-inc", "btcusd.trades"]
        peer.send(BOOK, subscribed("btcusd.ob-inc", "btcusd.trades"), TRADES, TRADES)

    with server(script) as served:
        result = listen(f"{served.url}/public?stream=btcusd.ob-inc --stream btcusd.trades --count 2")
        assert served.bearer is None
    assert (result.exit_code, result.stderr) == (0, "")
    assert frames(result) == [BOOK, subscribed("btcusd.ob-inc", "btcusd.trades"), TRADES]


def test_shared_secret_in_the_environment_does_not_matter_for_public_streams() -> None:
    with server(lambda peer: peer.send(subscribed("btcusd.trades"), TRADES)) as served:
        result = listen(f"{served.url}/public --stream btcusd.trades --count 1", JWT_ALGORITHM="HS256")
    assert (result.exit_code, result.stderr) == (0, "")


def test_url_without_streams_is_explained() -> None:
    with server(lambda peer: peer.send(subscribed())) as served:
        result = listen(f"{served.url}/public --seconds 0.1")
    assert "name streams with --stream" in result.stderr


@pytest.mark.parametrize("line", ["/ --stream order", "/?stream=admin.btcusd.sys", "/private --stream btcusd.trades"])
def test_token_is_sent_in_the_header(key: None, line: str) -> None:
    def script(peer: Peer) -> None:
        peer.send(subscribed(*peer.streams), {"order": {"id": 1}})

    with server(script) as served:
        result = listen(f"{served.url}{line} --count 1")
        assert re.fullmatch(r"Bearer [\w-]+\.[\w-]+\.[\w-]+", served.bearer or "")
    assert (result.exit_code, result.stderr) == (0, "")


def test_given_token_is_used() -> None:
    with server(lambda peer: peer.send(subscribed(*peer.streams), {"order": {}})) as served:
        assert listen(f"{served.url}/ --stream order --count 1", JWT="T").exit_code == 0
        assert served.bearer == "Bearer T"


def test_listen_without_a_key_names_the_missing_streams() -> None:
    with server(lambda peer: peer.send(subscribed("btcusd.trades"))) as served:
        result = listen(f"{served.url}/ --stream order --stream btcusd.trades")
        assert served.bearer is None
    assert result.exit_code == 3
    assert "without a token" in result.stderr
    assert "not subscribed: order;" in result.stderr


def test_named_file_without_a_key_is_reported() -> None:
    result = listen("ws://127.0.0.1:1/ --stream order --key missing")
    assert result.exit_code == 1
    assert "missing" in result.stderr


def test_close_is_shown_with_its_reason() -> None:
    with server(lambda peer: peer.close(1012, "restart; retry after 3")) as served:
        result = listen(f"{served.url}/public --stream btcusd.trades")
    assert (result.exit_code, result.stderr) == (4, "closed by the gateway: 1012 (restart; retry after 3)\n")


def test_closed_pipe_ends_the_command_quietly() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with server(lambda peer: peer.send(subscribed(), TRADES)) as served:
        command = [sys.executable, "-m", "peatio_ws", "listen", f"{served.url}/public?stream=btcusd.trades"]
        ended = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, cwd=ROOT, timeout=WAIT, check=False)
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (0, b"")


def test_unreachable_gateway_is_reported() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    result = listen(f"ws://127.0.0.1:{port}/public")
    assert result.exit_code == 1
    assert f"no connection to ws://127.0.0.1:{port}/public: nothing listens there" in result.stderr
    assert listen("http://127.0.0.1/public").exit_code == 1


def test_ctrl_c_is_status_0(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listen_module, "_print", lambda _: signal.raise_signal(signal.SIGINT))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a shell ignores SIGINT
    try:
        with server(lambda peer: peer.send(subscribed("a.b"))) as served:
            assert listen(f"{served.url}/ --stream a.b").exit_code == 0
    finally:
        signal.signal(signal.SIGINT, before)


def test_terminal_output_is_one_line_as_it_came(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    frame = '{"trade":{"price":9120.50,"volume":"0.10"}}'
    listen_module._print(frame)
    (line,) = capsys.readouterr().out.splitlines()
    assert re.sub(r"\x1b\[[0-9;]*m", "", line).endswith(f" {frame}")


def test_follow_connects_again_after_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listen_follow, "PAUSES", (0.01, 0.01))

    def script(peer: Peer) -> None:
        peer.send(subscribed("a.b"), {"a.b": len(served.requests)})
        peer.close(1012, "restart; retry after 0")

    with server(script) as served:
        result = listen(f"{served.url}/public?stream=a.b --follow --count 3")
        assert len(served.requests) == 3
    assert result.exit_code == 0
    assert [one["a.b"] for one in frames(result) if "a.b" in one] == [1, 2, 3]
    again = "closed by the gateway: 1012 (restart; retry after 0); connecting again in 0 s\n"
    assert result.stderr == 2 * again


def test_follow_ends_where_the_gateway_would_refuse_again() -> None:
    with server(lambda peer: peer.close(4403, "disconnected by the operator")) as served:
        result = listen(f"{served.url}/public --stream btcusd.trades --follow")
        assert len(served.requests) == 1
    assert (result.exit_code, result.stderr) == (4, "closed by the gateway: 4403 (disconnected by the operator)\n")
