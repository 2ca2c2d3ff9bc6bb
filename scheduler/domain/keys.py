"""The form of API keys."""

import secrets


def new_api_key(digits: str | None = None) -> str:
    """Return a random API key: nst_, 8 hex digits that name it, and 32 secret bytes; `digits` are random by default."""
    return f"nst_{digits or secrets.token_hex(4)}_{secrets.token_urlsafe(32)}"
