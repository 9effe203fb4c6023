"""Keep the states of a member's orders correct across disconnections. Environment: URL, UID, and the variables of
`rest.py` and `session_token.py`.
"""

import json
import os

from peatio_client import PeatioClient
from rest import fetch_orders
from session_token import token_maker

orders, token = {}, token_maker(os.environ["UID"])
client = PeatioClient(os.environ["URL"], token)
client.on("connected", lambda _: orders or orders.update(fetch_orders(token())))
client.on("gap", lambda _: orders.update(fetch_orders(token())))
for event in client:
    if event.stream == "order":
        orders[event.data["id"]] = event.data["state"]
    print(json.dumps(orders), flush=True)
