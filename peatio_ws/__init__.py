"""A WebSocket gateway for Peatio exchanges, in synchronous style on gevent.

The public names below are imported at their first use (PEP 562). Other programs can therefore import
`peatio_ws.publisher` without loading gevent and the gateway.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

from peatio_ws.version import VERSION

__version__ = VERSION
__all__ = [
    "ClientError",
    "Disconnect",
    "Gateway",
    "Identity",
    "Settings",
    "__version__",
    "in_thread",
    "require_authenticated",
]

_MODULES: Final = {
    "ClientError": "errors",
    "Disconnect": "errors",
    "Gateway": "server.gateway",
    "Identity": "auth.identity",
    "Settings": "config.settings",
    "in_thread": "concurrency.threads",
    "require_authenticated": "auth.identity",
}
"""The module of each public name."""

if TYPE_CHECKING:
    from peatio_ws.auth.identity import Identity, require_authenticated
    from peatio_ws.concurrency.threads import in_thread
    from peatio_ws.config.settings import Settings
    from peatio_ws.errors import ClientError, Disconnect
    from peatio_ws.server.gateway import Gateway
else:  # hidden from type checkers, which would accept any name

    def __getattr__(name: str) -> object:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
