"""Encryption of the secrets of webhooks at rest."""

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from nst_core.errors import ConfigError, NstError
from scheduler.settings import SchedulerSettings


class SealedError(NstError):
    """A secret was encrypted with an unknown key."""

    code = "secret_sealed"


class Vault:
    """Encrypts and decrypts with the keys of the installation."""

    def __init__(self, keys: str) -> None:
        """`keys` are Fernet keys, separated by commas; the first one encrypts. Raises ConfigError if malformed."""
        try:
            self._fernet = MultiFernet([Fernet(key.strip()) for key in keys.split(",")])
        except ValueError:
            raise ConfigError("NST_WEBHOOK_SECRET_KEY is not the URL-safe base64 of 32 bytes.") from None

    @classmethod
    def of(cls, settings: SchedulerSettings) -> "Vault | None":
        """Return the vault that the settings describe; None if they have no key."""
        key = settings.webhook_secret_key
        return None if key is None else cls(key.get_secret_value())

    def seal(self, secret: str) -> str:
        """Encrypt a secret for storage."""
        return self._fernet.encrypt(secret.encode()).decode()

    def open(self, sealed: str) -> str:
        """Decrypt a stored secret; raise SealedError if none of the keys fits."""
        try:
            return self._fernet.decrypt(sealed.encode()).decode()
        except InvalidToken:
            raise SealedError("The webhook's secret was encrypted with another key; rotate it.") from None
