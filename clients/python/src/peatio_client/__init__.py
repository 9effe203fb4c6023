"""A client for the Peatio WebSocket gateway that loses no fill: it reconnects and resumes.

    client = PeatioClient("wss://exchange.example/", token=fetch_token)
    client.on("trade", lambda event: book(event.data))
    client.on("gap", lambda cursor: book_all(ask_over_rest()))
    client.run()  # or: for event in client: …

`AsyncPeatioClient` is the same for asyncio. README.md lists the guarantees.
"""

from peatio_client.aio import AsyncPeatioClient
from peatio_client.blocking import PeatioClient
from peatio_client.books import Book, Depth, Every, Level
from peatio_client.events import Disconnected, Event, NoToken, Refused, RequestFailed, Resumed, Stream

__version__ = "0.1.0"

__all__ = [
    "AsyncPeatioClient",
    "Book",
    "Depth",
    "Disconnected",
    "Event",
    "Every",
    "Level",
    "NoToken",
    "PeatioClient",
    "Refused",
    "RequestFailed",
    "Resumed",
    "Stream",
]
