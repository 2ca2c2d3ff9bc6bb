"""The HTTP API: routes parse, call the service, and serialise."""
