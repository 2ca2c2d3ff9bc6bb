"""Encryption of the secrets of webhooks at rest."""

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from nst_core.errors import ConfigError, NstError


class SealedError(NstError):
    """A secret was encrypted with another key than those that there are."""

    code = "secret_sealed"


class Vault:
    """Encrypts and decrypts with the keys of the installation."""

    def __init__(self, keys: str) -> None:
        """`keys` are Fernet keys with commas in between; the first one encrypts. Raises ConfigError for others."""
        try:
            self._fernet = MultiFernet([Fernet(key.strip()) for key in keys.split(",")])
        except ValueError:
            raise ConfigError("NST_WEBHOOK_SECRET_KEY is no URL-safe base64 of 32 bytes.") from None

    def seal(self, secret: str) -> str:
        """Return a secret as it may be stored."""
        return self._fernet.encrypt(secret.encode()).decode()

    def open(self, sealed: str) -> str:
        """Return a secret that was stored; raise SealedError where none of the keys opens it."""
        try:
            return self._fernet.decrypt(sealed.encode()).decode()
        except InvalidToken:
            raise SealedError("The webhook's secret was encrypted with another key; rotate it.") from None
