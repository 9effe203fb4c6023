"""A server of sockets whose process may have no file descriptor left for another connection.

Knows gevent's server; knows no request.
"""

from __future__ import annotations

import errno
from typing import Any, Final

import gevent
from gevent.pywsgi import WSGIServer

from peatio_ws.monitoring import limits
from peatio_ws.monitoring.limits import Limit
from peatio_ws.server import open_files

_NONE_LEFT: Final = (errno.EMFILE, errno.ENFILE)  # of the process, of the host
_REMEDY: Final = "raise the hard limit of open files (LimitNOFILE, ulimits), or set WEBSOCKET_MAX_CONNECTIONS lower"


class AcceptingServer(WSGIServer):  # type: ignore[misc]  # gevent has no types
    """pywsgi's server. Clients wait in the kernel's queue until a file descriptor is free again."""

    def do_read(self) -> Any:
        """Accept a connection. gevent calls this when there is one."""
        try:
            return super().do_read()
        except OSError as error:
            if error.errno not in _NONE_LEFT:
                raise
            limits.reached(Limit.OPEN_FILES, most=open_files.limits()[0], remedy=_REMEDY)
            # gevent (26.9.0) pauses for up to a second. For any other exception, it also prints a traceback each time.
            raise gevent.GreenletExit from None
