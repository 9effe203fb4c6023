"""`settings`: prints the settings that are in force, and where each comes from."""

from __future__ import annotations

import os

import click

from peatio_ws.cli.env_file import EnvFile
from peatio_ws.cli.tables import print_table
from peatio_ws.config import misspelt_variables
from peatio_ws.config.in_force import SettingInForce, in_force
from peatio_ws.config.settings import Settings
from peatio_ws.errors import ConfigurationError


@click.command()
@click.option("--changed", is_flag=True, help="Only those that are not at their default.")
@click.pass_obj
def settings(file: EnvFile | None, changed: bool) -> None:
    """Print the settings that a gateway would have here, each with its source: the environment, the file of --env-file,
    or the default. Passwords and keys are hidden.

    A setting that is read from a variable of another name (RANGER_PORT) has this name next to its source.

    \b
    Status: 0 printed; 1 the gateway would not start with these settings; the faults are printed instead.
    """
    try:
        found = Settings.from_env(os.environ, at_start=True)
    except ConfigurationError as error:
        raise click.ClickException("\n  ".join(["the settings are not valid:", *map(str, error.faults)])) from None
    for name, meant in misspelt_variables.near_misses(os.environ).items():
        click.echo(f"{name} is not a variable of the gateway, which ignores it; {meant} is", err=True)
    rows = [
        (one.variable, one.value or "-", _source(one, file))
        for one in in_force(found, os.environ)
        if one.sources or not changed
    ]
    print_table(("VARIABLE", "VALUE", "SOURCE"), rows)


def _source(one: SettingInForce, file: EnvFile | None) -> str:
    if not one.sources:
        return "default"
    from_file = file is not None and file.names.issuperset(one.sources)
    place = str(file.path) if file is not None and from_file else "environment"
    return place if one.sources == (one.variable,) else f"{place}: {', '.join(one.sources)}"
