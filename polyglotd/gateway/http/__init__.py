"""The HTTP edge: an ASGI app over the `Gateway`, and the server that gives it connections.

`app.HttpApp` routes a request (`routes`) to an endpoint, a function of its subject's module (`publish`, `history`,
`sse`, `admin_keys`, …) that takes an `Edge` and a `Call` and returns an `Answer` or raises a `Refusal`. `server` and
`admin_socket` own connections. Every decision about an app's data is the gateway's; here is only what HTTP is about.
"""
