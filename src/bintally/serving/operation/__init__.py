"""What an operator sees of the service, and does to it: health, metrics, logs, traces, a check before the start."""
