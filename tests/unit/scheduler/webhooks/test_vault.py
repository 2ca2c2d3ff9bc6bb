"""Tests of scheduler.webhooks.vault."""

import pytest
from cryptography.fernet import Fernet

from nst_core.errors import ConfigError
from scheduler.webhooks.vault import SealedError, Vault


def test_a_secret_is_encrypted_and_comes_back() -> None:
    vault = Vault(Fernet.generate_key().decode())
    sealed = vault.seal("whsec_abc")
    assert "abc" not in sealed
    assert vault.open(sealed) == "whsec_abc"


def test_an_old_key_still_opens_and_the_first_one_seals() -> None:
    old, new = (Fernet.generate_key().decode() for _ in range(2))
    sealed = Vault(old).seal("s")
    both = Vault(f"{new}, {old}")
    assert both.open(sealed) == "s"
    assert Vault(new).open(both.seal("t")) == "t"
    with pytest.raises(SealedError):
        Vault(new).open(sealed)


@pytest.mark.parametrize("keys", ["", "short", "not base64 at all"])
def test_a_malformed_key_is_refused(keys: str) -> None:
    with pytest.raises(ConfigError):
        Vault(keys)
