"""The scheduler of nst: store, control loops, API, CLI and the embedded stack."""
