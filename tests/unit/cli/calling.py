"""Call commands as a user does."""

from __future__ import annotations

from click.testing import CliRunner, Result

from peatio_ws.cli.main import main


def call(line: str, **environ: str) -> Result:
    return CliRunner().invoke(main, line.split(), env=environ)


def fails(line: str, status: int = 1, **environ: str) -> str:
    """Return the error text. A fault has to be a message for the user, never a traceback."""
    result = call(line, **environ)
    assert isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code == status, result.output
    assert "Error: " in result.output
    return result.output
