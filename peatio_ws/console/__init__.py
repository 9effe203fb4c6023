"""The page at `/`, which shows the gateway at work. Its files are in `static/`."""
