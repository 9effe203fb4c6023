"""`keygen`: a key pair for trying things out."""

from __future__ import annotations

from pathlib import Path

import click

from peatio_ws.auth import keys
from peatio_ws.cli.key_files import KEY_FILE, write_private


@click.command()
@click.option("--algorithm", default="RS256", show_default=True, type=click.Choice(keys.ALGORITHMS[:-1]))
@click.option(
    "--directory", default=KEY_FILE.parent, show_default=True, type=click.Path(path_type=Path), help="Where to."
)
@click.option("--force", is_flag=True, help="Write over a key that is there.")
def keygen(algorithm: str, directory: Path, force: bool) -> None:
    """Make a key pair for trying things out: DIRECTORY/private.pem, and JWT_PUBLIC_KEY on standard output.

    On a real exchange Barong holds the private key, and the gateway gets its public half only.
    """
    path = directory / KEY_FILE.name
    if path.exists() and not force:
        raise click.ClickException(f"{path} is there already; --force writes over it")
    key = keys.new_private_key(algorithm)
    try:
        write_private(path, key)
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror}; --directory takes another folder") from None
    click.echo(f"written: {path} (keep it to yourself)", err=True)
    click.echo(f"JWT_ALGORITHM={algorithm}")
    click.echo(f"JWT_PUBLIC_KEY={keys.public_text(key)}")
