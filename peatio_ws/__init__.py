"""A WebSocket gateway between a Peatio exchange and its traders; gevent, synchronous style."""

from peatio_ws.errors import Disconnect
from peatio_ws.gateway import Gateway
from peatio_ws.settings import Settings

__version__ = "0.1.0"
__all__ = ["Disconnect", "Gateway", "Settings", "__version__"]
