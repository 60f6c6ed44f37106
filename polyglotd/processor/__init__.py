"""From the log to what outlives it. `pipeline` is what the daemon runs; the other modules are a task each."""
