"""Tables of texts on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

import click


def printable(text: str) -> str:
    """Return a text with `?` for each character that controls a terminal, or that it cannot show."""
    return "".join(sign if sign.isprintable() else "?" for sign in text)


def print_table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """Print rows in columns under a head; nothing if there are none.

    Characters that control a terminal are replaced, because a client can choose some texts, such as its address.
    """
    shown = [tuple(map(printable, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *shown, strict=True)]
    for row in (head, *shown) if shown else ():
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
