"""Read orders from Peatio over REST, at the start and after a gap. ORDERS_URL in the environment is Peatio's
`…/market/orders`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from http.client import HTTPException
from urllib.request import Request, urlopen


def fetch_orders(token: Callable[[], str]) -> dict[int, str]:
    """Return the states of the member's orders, by id. Try again every second until Peatio answers."""
    while True:
        request = Request(os.environ["ORDERS_URL"], headers={"Authorization": f"Bearer {token()}"})
        try:
            with urlopen(request, timeout=10) as answer:
                return {order["id"]: order["state"] for order in json.load(answer)}
        except (OSError, HTTPException, ValueError) as error:  # ValueError: a page instead of JSON
            print(f"{error}; trying again", file=sys.stderr)
            time.sleep(1)
