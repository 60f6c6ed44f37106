"""One module a noun. A module that is a single verb has `register`, the others an `app`."""
