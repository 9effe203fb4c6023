"""What operators see: metrics, logs, and the watchdog of the event loop."""
