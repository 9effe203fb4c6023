"""Keep the states of a member's orders correct across disconnections, with asyncio. Environment: URL, UID, and the
variables of `rest.py` and `session_token.py`. Run it like `orders.py`.
"""

import asyncio
import json
import os

from output import show
from peatio_client import AsyncPeatioClient
from rest import fetch_orders
from session_token import token_maker


async def main():
    orders, token = {}, token_maker(os.environ["UID"])

    async def read_all(_):
        orders.update(await asyncio.to_thread(fetch_orders, token))

    async with AsyncPeatioClient(os.environ["URL"], token) as client:
        client.once("connected", read_all).on("gap", read_all)
        client.on("order", lambda event: orders.update({event.data["id"]: event.data["state"]}))
        async for _ in client:
            show(json.dumps(orders))


asyncio.run(main())
