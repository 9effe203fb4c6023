"""Print a line for each event of every channel of Peatio, with the types of `peatio_client.channels`. With `make run`:

    .venv/bin/pip install ./clients/python
    TOKEN="$(.venv/bin/python -m peatio_ws token --member-id 1001)" .venv/bin/python examples/every_channel.py

URL and MARKET can be set in the environment, too.
"""

from __future__ import annotations

import os
from decimal import Decimal

from output import show
from peatio_client import Event, PeatioClient
from peatio_client.channels import (
    BALANCES,
    DEPOSIT_ADDRESS,
    ORDER,
    TICKERS,
    TRADE,
    Balances,
    BookIncrement,
    BookSnapshot,
    BookUpdate,
    DepositAddress,
    Kline,
    Order,
    PublicTrades,
    Tickers,
    Trade,
    kline,
    ob_inc,
    ob_snap,
    trades,
    update,
)

MARKET = os.environ.get("MARKET", "btcusd")


def on_tickers(event: Event[Tickers]) -> None:
    for market, ticker in event.data.items():
        show("ticker", market, ticker["last"], ticker["price_change_percent"])


def on_trades(event: Event[PublicTrades]) -> None:
    for trade in event.data["trades"]:
        show("market trade", trade["taker_type"], trade["price"], trade["amount"])


def on_candle(event: Event[Kline]) -> None:
    _, opened, high, low, close, volume = event.data
    show("candle", opened, high, low, close, volume)


def on_book(event: Event[BookSnapshot]) -> None:
    show("book", event.data["sequence"], len(event.data["asks"]), len(event.data["bids"]))


def on_change(event: Event[BookIncrement]) -> None:
    show("change", event.data["sequence"], event.data.get("asks"), event.data.get("bids"))


def on_old_book(event: Event[BookUpdate]) -> None:
    show("old book", len(event.data["asks"]), len(event.data["bids"]))


def on_order(event: Event[Order]) -> None:
    order = event.data
    filled = Decimal(order["executed_volume"]) / Decimal(order["origin_volume"])
    show("order", order["id"], order["market"], order["side"], order["state"], f"{filled:.0%}")


def on_trade(event: Event[Trade]) -> None:
    show("trade", event.data["order_id"], event.data["side"], event.data["price"], event.data["amount"])


def on_balances(event: Event[Balances]) -> None:
    for currency, (available, locked) in event.data.items():
        show("balance", currency, available, locked)


def on_address(event: Event[DepositAddress]) -> None:
    show("deposit address", event.data["currencies"], event.data["address"])


client = PeatioClient(
    os.environ.get("URL", "ws://127.0.0.1:8080/"),
    token=lambda: os.environ["TOKEN"],
    streams=[
        *(TICKERS, ORDER, TRADE, BALANCES, DEPOSIT_ADDRESS),
        *(trades(MARKET), kline(MARKET, "1m"), ob_inc(MARKET), update(MARKET)),
    ],
)
client.on(TICKERS, on_tickers).on(trades(MARKET), on_trades).on(kline(MARKET, "1m"), on_candle)
client.on(ob_snap(MARKET), on_book).on(ob_inc(MARKET), on_change).on(update(MARKET), on_old_book)
client.on(ORDER, on_order).on(TRADE, on_trade).on(BALANCES, on_balances).on(DEPOSIT_ADDRESS, on_address)
try:
    client.run()
except KeyboardInterrupt:
    client.close()
