"""A worker: the gateway, its connections, and its life under gunicorn."""
