"""The operator's command line: a client of the daemon's HTTP and WebSocket APIs, nothing more.

It imports nothing of the daemon but `polyglotd.model`. Heavy libraries are imported inside the commands that use
them, so that `--help` answers at once.
"""
