"""The decisions put together: who connects, joins and publishes, what they get, and the HTTP API in front of it."""
