"""The option `--env-file` of all commands: adds the variables of a file to the environment."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import click

from peatio_ws.config.env_file import read_env_file
from peatio_ws.errors import ConfigurationError


class EnvFile(NamedTuple):
    """A file of variables.

    Attributes:
        names: the variables that were taken from it; the environment has priority.
    """

    path: Path
    names: frozenset[str]


def load(path: Path) -> EnvFile:
    """Add the variables of a file that the environment does not have. ClickException names each fault of the file."""
    try:
        found = read_env_file(path)
    except ConfigurationError as error:
        raise click.ClickException("\n  ".join(map(str, error.faults))) from None
    new = {name: value for name, value in found.items() if name not in os.environ}
    os.environ.update(new)
    return EnvFile(path, frozenset(new))
