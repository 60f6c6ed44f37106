"""What outlives the log. `interface` is what others depend on; `sqlite_*` are the embedded makes."""
