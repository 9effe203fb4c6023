"""A WebSocket gateway between a Peatio exchange and its traders; gevent, synchronous style."""

from peatio_ws.blocking import in_thread
from peatio_ws.caller import require_authenticated
from peatio_ws.errors import ClientError, Disconnect
from peatio_ws.gateway import Gateway
from peatio_ws.settings import Settings

__version__ = "0.1.0"
__all__ = [
    "ClientError",
    "Disconnect",
    "Gateway",
    "Settings",
    "in_thread",
    "require_authenticated",
    "__version__",
]
