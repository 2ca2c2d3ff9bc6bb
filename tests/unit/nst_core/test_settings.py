"""Settings that scheduler and workers share: what is refused, and that no error has a secret in it."""

import pytest
from pydantic import SecretStr, ValidationError

from nst_core.settings import BrokerSettings, describe

SECRET = "hunter2" * 6


def test_a_password_in_the_address_of_redis_may_have_any_character() -> None:
    settings = BrokerSettings(redis_url=SecretStr("rediss://nst:p%40%2F%23%25@redis.internal:6380/2"))
    assert "p%40" not in repr(settings)


@pytest.mark.parametrize(
    "url", ["", "localhost:6379", "http://x/0", f"redis://:{SECRET}/x@host:6379/0", "redis://h:0/"]
)
def test_what_is_no_address_of_redis_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ValidationError) as caught:
        BrokerSettings(redis_url=SecretStr(url))
    assert describe(caught.value).startswith("NST_REDIS_URL must be an address like redis://")
    assert SECRET not in str(caught.value) + describe(caught.value)


@pytest.mark.parametrize("secret", ["", "short", "x" * 31])
def test_a_secret_for_messages_that_is_missing_or_short_is_refused(
    monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    monkeypatch.setenv("NST_MESSAGE_SECRET", secret)
    monkeypatch.setenv("NST_REDIS_URL", f"redis://:{SECRET}@h:6379/0")
    with pytest.raises(ValidationError) as caught:
        BrokerSettings()
    assert describe(caught.value).startswith("NST_MESSAGE_SECRET must be set to 32 random characters or more")
    assert SECRET not in str(caught.value)


def test_a_secret_for_messages_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NST_MESSAGE_SECRET")
    with pytest.raises(ValidationError, match="message_secret"):
        BrokerSettings()
