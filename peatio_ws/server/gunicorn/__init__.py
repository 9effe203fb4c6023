"""What gunicorn runs: its master, its workers, and the server of their sockets."""
