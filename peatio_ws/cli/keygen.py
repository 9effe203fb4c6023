"""`keygen`: makes a key pair for trials."""

from __future__ import annotations

from pathlib import Path

import click

from peatio_ws.auth import keys
from peatio_ws.cli.key_files import KEY_FILE, write_private


@click.command()
@click.option("--algorithm", default="RS256", show_default=True, type=click.Choice(keys.ALGORITHMS[:-1]))
@click.option(
    "--directory", default=KEY_FILE.parent, show_default=True, type=click.Path(path_type=Path), help="Output folder."
)
@click.option("--force", is_flag=True, help="Overwrite an existing key.")
def keygen(algorithm: str, directory: Path, force: bool) -> None:
    """Make a key pair for trials: DIRECTORY/private.pem, and JWT_PUBLIC_KEY on standard output.

    On a real exchange, Barong holds the private key. The gateway gets only its public half.
    """
    path = directory / KEY_FILE.name
    if path.exists() and not force:
        raise click.ClickException(f"{path} exists already; --force overwrites it")
    key = keys.new_private_key(algorithm)
    try:
        write_private(path, key)
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror}; choose another folder with --directory") from None
    click.echo(f"written: {path} (keep it secret)", err=True)
    click.echo(f"JWT_ALGORITHM={algorithm}")
    click.echo(f"JWT_PUBLIC_KEY={keys.public_text(key)}")
