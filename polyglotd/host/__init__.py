"""What the daemon asks of the machine that it runs on: its data directory, signals, files, the service manager."""
