"""OpenTelemetry's command `opentelemetry-instrument`, for tests that start modules.

python -m tests.programs.instrumented gunicorn wsgi
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from opentelemetry.instrumentation.auto_instrumentation import run

if __name__ == "__main__":
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # it looks up the command
    run()
