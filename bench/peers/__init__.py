"""Servers that do nothing but pass messages on, as programs of their own: what ours is measured beside."""
