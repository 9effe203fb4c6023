"""The page at `/`: what the gateway does, in a browser. Its files are in `static/`."""
