"""`who`: what it prints."""

from __future__ import annotations

import pytest

from peatio_ws.cli.operator import who


def test_who_escapes_terminal_codes_of_clients(capsys: pytest.CaptureFixture[str]) -> None:
    who._table(("ADDRESS", "ID"), [("\x1b[2J\n1", "é")])
    assert capsys.readouterr().out == "ADDRESS  ID\n?[2J?1   é\n"
