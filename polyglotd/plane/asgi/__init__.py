"""The plane in Python: the reference for every other make, with no speed goals."""
