"""Webhooks: what happens is matched and queued by `sink`, and sent to each endpoint by a task of `deliveries`."""
