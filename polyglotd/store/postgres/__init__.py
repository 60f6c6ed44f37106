"""The stores in a PostgreSQL database, with TimescaleDB or without. `events` is what the daemon opens."""
