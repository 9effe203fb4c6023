"""Events to the outboxes of their recipients, live and after a reconnect. Knows no socket."""
