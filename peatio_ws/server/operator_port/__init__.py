"""The operator's port (`METRICS_HOST:METRICS_PORT`): metrics, health, and the HTTP interface to steer gateways."""
