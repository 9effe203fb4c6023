"""Django's command line."""

import os
import sys
from pathlib import Path

from django.core.management import execute_from_command_line

sys.path.append(str(Path(__file__).parents[2]))  # the gateway's checkout, which need not be installed
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "exchange.settings")

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
