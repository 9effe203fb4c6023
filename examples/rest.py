"""Read orders from Peatio over REST, at the start and after a gap. ORDERS_URL in the environment is Peatio's
`…/market/orders`.
"""

from __future__ import annotations

import json
import os
from urllib.request import Request, urlopen


def fetch_orders(token: str) -> dict[int, str]:
    """Return the states of the member's orders, by id."""
    with urlopen(Request(os.environ["ORDERS_URL"], headers={"Authorization": f"Bearer {token}"}), timeout=10) as answer:
        return {order["id"]: order["state"] for order in json.load(answer)}
