r"""Keep the states of a member's orders correct across disconnections. Environment: URL, UID, and the variables of
`rest.py` and `session_token.py`. With `make run`:

    .venv/bin/pip install ./clients/python
    env URL=ws://127.0.0.1:8080/ UID=IDDEMO000001 MEMBER_ID=1001 JWT_PRIVATE_KEY="$(cat .run/private.pem)" \
        ORDERS_URL=http://127.0.0.1:8080/api/v2/market/orders .venv/bin/python examples/orders.py
"""

import json
import os

from output import show
from peatio_client import PeatioClient
from rest import fetch_orders
from session_token import token_maker

orders, token = {}, token_maker(os.environ["UID"])
client = PeatioClient(os.environ["URL"], token)
client.once("connected", lambda _: orders.update(fetch_orders(token)))
client.on("gap", lambda _: orders.update(fetch_orders(token)))
for event in client:
    if event.stream == "order":
        orders[event.data["id"]] = event.data["state"]
    show(json.dumps(orders))
