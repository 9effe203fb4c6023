"""The command line: `python -m peatio_ws …`. Each command has its own file in this folder.

A new command: a file with its function, and its name in the list below.
"""

from __future__ import annotations

import click

from peatio_ws.cli.check.command import check
from peatio_ws.cli.keygen import keygen
from peatio_ws.cli.listen import listen
from peatio_ws.cli.operator.disconnect import disconnect
from peatio_ws.cli.operator.drain import drain
from peatio_ws.cli.operator.notice import notice
from peatio_ws.cli.operator.who import who
from peatio_ws.cli.publish import publish
from peatio_ws.cli.run import run
from peatio_ws.cli.token import token


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def main() -> None:
    """Tools for the Peatio WebSocket gateway. If the package is not installed, type `python -m peatio_ws`.

    \b
    To try it on one machine:
      peatio-ws run                            the gateway with a simulated exchange, on port 8080, and a console
      peatio-ws listen                         connects, authenticates and prints what it receives
      peatio-ws listen --stream btcusd.trades  the same for a public stream
    With a real broker:
      peatio-ws keygen                         a key pair; give the printed JWT_PUBLIC_KEY to the gateway
      peatio-ws listen --uid ID1234567890      orders and trades of one member
      peatio-ws publish order --uid ID1234567890
      peatio-ws publish --file FILE            replays a file of messages
    Start the gateway with `gunicorn wsgi`, or with `peatio-ws run` in any folder. Before that:
      peatio-ws check                          tries everything the gateway needs, and suggests remedies
    While it runs:
      peatio-ws who                            shows which members are online
      peatio-ws disconnect UID --revoke        ends their sessions; notice and drain control it too
    """


for _command in (keygen, token, publish, listen, check, run, who, disconnect, notice, drain):
    main.add_command(_command)
