"""Events to the outboxes of those who get them, live and after a reconnect. Knows no socket."""
