"""The stores of one node: SQLite files. `events` and `registry` are what the daemon opens."""
