"""The command line: `python -m peatio_ws …`. Each command is a file of this folder.

A new command: a file with its function, and its name in the list below.
"""

from __future__ import annotations

import click

from peatio_ws.cli.check.command import check
from peatio_ws.cli.disconnect import disconnect
from peatio_ws.cli.drain import drain
from peatio_ws.cli.keygen import keygen
from peatio_ws.cli.listen import listen
from peatio_ws.cli.notice import notice
from peatio_ws.cli.publish import publish
from peatio_ws.cli.run import run
from peatio_ws.cli.token import token
from peatio_ws.cli.who import who


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def main() -> None:
    """Tools around the Peatio WebSocket gateway. Where it is not installed, peatio-ws is `python -m peatio_ws`.

    \b
    A first round, on one machine:
      peatio-ws run                            the gateway with a simulated exchange, on port 8080, and a console
      peatio-ws listen                         connects to it, authenticates, prints what comes
      peatio-ws listen --stream btcusd.trades  the same for a public stream
    Against a real broker:
      peatio-ws keygen                         a key pair; give the printed JWT_PUBLIC_KEY to the gateway
      peatio-ws listen --uid ID1234567890      one member's orders and trades
      peatio-ws publish order --uid ID1234567890
      peatio-ws publish --file FILE            replays a file of messages
    The gateway itself is started with `gunicorn wsgi`, or, in any folder, peatio-ws run; before that,
      peatio-ws check                          tries all it needs, and says what to do
    While it runs,
      peatio-ws who                            shows which members are online
      peatio-ws disconnect UID --revoke        ends their sessions; notice and drain steer it too
    """


for _command in (keygen, token, publish, listen, check, run, who, disconnect, notice, drain):
    main.add_command(_command)
