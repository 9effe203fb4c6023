"""Tools for greenlets: restarts, backoff, token buckets, timers, yielding, threads. Knows no other package of ours."""
