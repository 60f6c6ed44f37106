"""Fixtures that suites of this folder share, each from the module of its subject."""

from contracts.stores import make

__all__ = ["make"]
