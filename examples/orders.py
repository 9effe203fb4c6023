"""A member's orders, kept right whatever happens to the line. In the environment: URL, UID, and what `rest.py` and
`session_token.py` say.
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
