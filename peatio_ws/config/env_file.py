"""Reads a file of variables, as Docker Compose and systemd do: `NAME=value`, one a line (`--env-file`)."""

from __future__ import annotations

from pathlib import Path

from dotenv.parser import parse_stream

from peatio_ws.errors import ConfigurationError, Fault


def read_env_file(path: Path) -> dict[str, str]:
    """Return the variables in a file. Values may be quoted and then have several lines; `$` has no meaning.

    Raises:
        ConfigurationError: the file cannot be read, or lines of it are not understood. The texts contain no value.
    """
    found: dict[str, str] = {}
    faults: list[Fault] = []
    try:
        with path.open(encoding="utf-8") as file:
            for binding in parse_stream(file):
                if binding.error or (binding.key is not None and binding.value is None):
                    text = f"{path}, line {binding.original.line}: is not NAME=value, a comment (#) or a blank line"
                    faults.append(Fault(text))
                elif binding.key is not None:
                    found[binding.key] = binding.value or ""
    except OSError as error:
        raise ConfigurationError([Fault(f"{path} cannot be read: {error.strerror}")]) from None
    except UnicodeDecodeError:
        raise ConfigurationError([Fault(f"{path} is not valid UTF-8")]) from None
    if faults:
        raise ConfigurationError(faults)
    return found
