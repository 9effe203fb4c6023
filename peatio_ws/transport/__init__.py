"""WebSockets over gevent. Knows nothing of Peatio."""
