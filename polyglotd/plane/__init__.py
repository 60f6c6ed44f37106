"""The data plane: `interface` is the border that the gateway sees, `asgi` the make in Python (the reference)."""
