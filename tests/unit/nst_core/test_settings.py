"""Settings that scheduler and workers share: wrong values are refused, and no error contains a secret."""

import re
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError
from pydantic_settings import BaseSettings

from nst_core.settings import BrokerSettings, DecoderSettings, LossWeightsSettings, describe, unknown_variables
from scheduler.settings import SchedulerSettings
from worker.settings import WorkerSettings

ROOT = Path(__file__).parents[3]

SECRET = "hunter2" * 6


def test_a_redis_password_may_contain_any_character() -> None:
    settings = BrokerSettings(redis_url=SecretStr("rediss://nst:p%40%2F%23%25@redis.internal:6380/2"))
    assert "p%40" not in repr(settings)


@pytest.mark.parametrize(
    "url", ["", "localhost:6379", "http://x/0", f"redis://:{SECRET}/x@host:6379/0", "redis://h:0/"]
)
def test_an_invalid_redis_address_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ValidationError) as caught:
        BrokerSettings(redis_url=SecretStr(url))
    assert describe(caught.value).startswith("NST_REDIS_URL must be an address like redis://")
    assert SECRET not in str(caught.value) + describe(caught.value)


@pytest.mark.parametrize("word", ["REQUIRED", "CERT_REQUIRED", "yes", "none&ssl_cert_reqs=yes"])
def test_an_unknown_word_does_not_turn_the_check_of_certificates_off(word: str) -> None:
    with pytest.raises(ValidationError, match="may say ssl_cert_reqs=required"):
        BrokerSettings(redis_url=SecretStr(f"rediss://h:6379/0?ssl_cert_reqs={word}"))


@pytest.mark.parametrize("secret", ["", "short", "x" * 31])
def test_an_empty_or_short_message_secret_is_refused(monkeypatch: pytest.MonkeyPatch, secret: str) -> None:
    monkeypatch.setenv("NST_MESSAGE_SECRET", secret)
    monkeypatch.setenv("NST_REDIS_URL", f"redis://:{SECRET}@h:6379/0")
    with pytest.raises(ValidationError) as caught:
        BrokerSettings()
    assert describe(caught.value).startswith("NST_MESSAGE_SECRET must be set to 32 random characters or more")
    assert SECRET not in str(caught.value)


def test_a_message_secret_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NST_MESSAGE_SECRET")
    with pytest.raises(ValidationError, match="message_secret"):
        BrokerSettings()


def documented() -> set[str]:
    """Return the variables of the tables of settings."""
    pages = [(ROOT / page).read_text() for page in ("README.md", "scheduler/README.md", "worker/README.md")]
    rows = [line.split("|")[1] for page in pages for line in page.splitlines() if line.startswith("| `NST_")]
    return {name for row in rows for name in re.findall(r"`(NST_\w+)`", row)}


def test_every_documented_variable_is_known() -> None:
    assert len(documented()) > 70
    assert unknown_variables(dict.fromkeys(documented(), "1")) == []


@pytest.mark.parametrize("cls", [SchedulerSettings, WorkerSettings, DecoderSettings, LossWeightsSettings])
def test_every_variable_is_documented(cls: type[BaseSettings]) -> None:
    prefix = cls.model_config["env_prefix"]
    assert {f"{prefix}{name}".upper() for name in cls.model_fields} - documented() == set()


def test_a_misspelled_variable_is_named_with_the_right_one() -> None:
    (sentence,) = unknown_variables({"NST_DECODER_SECOND": "1"})
    assert sentence == "NST_DECODER_SECOND is not a setting of nst; did you mean NST_DECODER_SECONDS?"


def test_a_wrong_value_is_reported_with_the_name_of_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NST_DECODER_MEMORY_BYTES", "few")
    with pytest.raises(ValidationError) as caught:
        DecoderSettings()
    assert describe(caught.value).startswith("NST_DECODER_MEMORY_BYTES Input should be a valid integer")


@pytest.mark.parametrize("cls", [SchedulerSettings, WorkerSettings, DecoderSettings, LossWeightsSettings])
def test_an_empty_variable_counts_as_not_set(cls: type[BaseSettings], monkeypatch: pytest.MonkeyPatch) -> None:
    without = cls()
    for name in cls.model_fields.keys() - {"message_secret", "database_url"}:
        monkeypatch.setenv(f"{cls.model_config['env_prefix']}{name}".upper(), "")
    assert cls() == without
