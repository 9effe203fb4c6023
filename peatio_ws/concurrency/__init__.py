"""Tools for greenlets: restarts, backoff, yielding, threads. Knows nothing of the rest of the package."""
