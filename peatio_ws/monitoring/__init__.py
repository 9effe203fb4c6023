"""What an operator sees: metrics, logs, a watch over the loop."""
