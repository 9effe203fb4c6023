"""`peatio-ws check`: tries what the gateway needs, and suggests remedies."""

import importlib
import os

# `check` serves no clients. If the environment names a folder when prometheus-client is imported, the metrics of this
# process are kept in files there, and the files remain.
_folder = os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)
importlib.import_module("prometheus_client")
if _folder is not None:
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = _folder
