"""A WebSocket gateway between a Peatio exchange and its traders; gevent, synchronous style.

The public names below are imported when they are first used (PEP 562). So `peatio_ws.publisher`, which other programs
import, loads neither gevent nor what else only a gateway needs.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

__version__ = "0.1.0"
__all__ = [
    "ClientError",
    "Disconnect",
    "Gateway",
    "Settings",
    "__version__",
    "in_thread",
    "require_authenticated",
]

_MODULES: Final = {
    "ClientError": "errors",
    "Disconnect": "errors",
    "Gateway": "server.gateway",
    "Settings": "config.settings",
    "in_thread": "concurrency.threads",
    "require_authenticated": "auth.identity",
}
"""The module of each public name."""

if TYPE_CHECKING:
    from peatio_ws.auth.identity import require_authenticated
    from peatio_ws.concurrency.threads import in_thread
    from peatio_ws.config.settings import Settings
    from peatio_ws.errors import ClientError, Disconnect
    from peatio_ws.server.gateway import Gateway
else:  # a type checker that saw it would take any name for a public one

    def __getattr__(name: str) -> object:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
