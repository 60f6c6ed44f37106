"""What the daemon says of itself: log lines on standard error, metrics for Prometheus."""
