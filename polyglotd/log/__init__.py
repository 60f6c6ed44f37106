"""The event log: `interface` is what others depend on, `segments` the make for one node."""
