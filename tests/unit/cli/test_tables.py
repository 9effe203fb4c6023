"""Tables: their columns, and what they do with texts of clients."""

from __future__ import annotations

import pytest

from peatio_ws.cli.tables import print_table


def test_columns_are_as_wide_as_their_widest_cell(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("A", "NUMBER"), [("long", "1"), ("b", "")])
    assert capsys.readouterr().out == "A     NUMBER\nlong  1\nb\n"


def test_without_rows_there_is_no_head(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("A",), [])
    assert capsys.readouterr().out == ""


def test_terminal_codes_of_clients_are_replaced(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("ADDRESS", "ID"), [("\x1b[2J\n1", "é")])
    assert capsys.readouterr().out == "ADDRESS  ID\n?[2J?1   é\n"
