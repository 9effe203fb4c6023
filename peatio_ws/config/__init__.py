"""Settings from environment variables, and the faults in them."""
