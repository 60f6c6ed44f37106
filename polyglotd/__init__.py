"""Polyglot: a multi-tenant realtime engine. `cli` is the way in, `daemon` puts the rooms together."""
