"""Prints what a program finds when it starts. Waits to be ended if its first argument is `wait`, and fails if it is
`fail`."""

import atexit
import json
import os
import resource
import signal
import sys
import threading

if __name__ == "__main__":
    found = {
        "arguments": [sys.argv[1:], sys.orig_argv[1:]],
        "descriptors": len(os.listdir("/proc/self/fd")),
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "handlers": {number.name: str(signal.getsignal(number)) for number in signal.valid_signals() if number < 32},
        "limits": [resource.getrlimit(getattr(resource, name)) for name in dir(resource) if name.startswith("RLIMIT_")],
        "metrics": "prometheus_client" in sys.modules,
        "path": sys.path,
        "threads": threading.active_count(),
    }
    print(json.dumps(found, indent=1), flush=True)
    if sys.argv[1:2] == ["wait"]:
        signal.pause()
    atexit.register(print, "exit handlers run")
    if sys.argv[1:2] == ["fail"]:
        raise ArithmeticError("failed")
    sys.exit("ended")
