"""Settings that the scheduler and the workers share, read from `NST_*` variables.

Each process has one settings class of its own that adds to these; it is read once, at the start.
"""

import os
from collections.abc import Mapping
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

_SETTINGS = (
    ("nst_core.settings", "LossWeightsSettings"),
    ("scheduler.settings", "SchedulerSettings"),
    ("worker.settings", "WorkerSettings"),
)
#: Variables that the command line and the tests read.
_OTHER_VARIABLES = ("NST_API_KEY", "NST_HOME", "NST_URL", "NST_TEST_MARK")
#: Of NST_MESSAGE_SECRET.
MIN_SECRET_CHARACTERS = 32


class BrokerSettings(BaseSettings):
    """Where Redis is, and what proves that a message in it is genuine."""

    # The values of settings are not in errors: some are secrets.
    model_config = SettingsConfigDict(env_prefix="NST_", frozen=True, hide_input_in_errors=True)

    #: NST_REDIS_URL; a database of Redis for nst alone.
    redis_url: SecretStr = SecretStr("redis://127.0.0.1:6379/0")
    #: NST_MESSAGE_SECRET; signs messages and events. The same for every scheduler and worker.
    message_secret: SecretStr = Field(SecretStr(""), validate_default=True)
    #: NST_HEARTBEAT_FILE; touched every second while the process lives and gets on. See `nst_core.system.heartbeat`.
    heartbeat_file: Path | None = None

    @field_validator("redis_url")
    @classmethod
    def _is_redis_url(cls, value: SecretStr) -> SecretStr:
        try:
            url = urlsplit(value.get_secret_value())
            is_good = url.scheme in {"redis", "rediss"} and (url.port is None or url.port > 0)
        except ValueError:
            is_good = False
        if not is_good:
            raise ValueError(
                "must be an address like redis://:PASSWORD@HOST:6379/0, with special characters of the password"
                " written as %40 and the like"
            )
        return value

    @field_validator("message_secret")
    @classmethod
    def _is_long(cls, value: SecretStr) -> SecretStr:
        if len(value.get_secret_value()) < MIN_SECRET_CHARACTERS:
            raise ValueError(
                f"must be set to {MIN_SECRET_CHARACTERS} random characters or more, the same for every scheduler and"
                " worker; `openssl rand -hex 32` prints such a value"
            )
        return value


class StorageSettings(BaseSettings):
    """Where the object storage is."""

    model_config = SettingsConfigDict(env_prefix="NST_", frozen=True, hide_input_in_errors=True)

    #: NST_S3_ENDPOINT; empty for Amazon's own.
    s3_endpoint: str | None = None
    s3_region: str = "us-east-1"
    #: Empty for boto3's usual chain (profile, instance role).
    s3_access_key: SecretStr | None = None
    s3_secret_key: SecretStr | None = None
    #: The bucket for uploads, results and style weights.
    s3_bucket: str = "nst"

    @field_validator("s3_endpoint")
    @classmethod
    def _is_endpoint(cls, value: str | None) -> str | None:
        try:
            is_good = not value or (urlsplit(value).scheme in {"http", "https"} and urlsplit(value).port != 0)
        except ValueError:
            is_good = False
        if not is_good or (value and not urlsplit(value).hostname):
            raise ValueError("must be an address like https://storage.internal:9000, or empty")
        return value


class DecoderSettings(BaseSettings):
    """How images are decoded: each process of nst has a few child processes for it."""

    model_config = SettingsConfigDict(env_prefix="NST_DECODER_", frozen=True, env_ignore_empty=True)

    #: NST_DECODER_PROCESSES: images decoded at the same time.
    processes: int = Field(default_factory=lambda: min(4, max(2, os.cpu_count() or 1)), ge=1)
    #: Bytes of memory for all images that are decoded at the same time; one alone may take all of it.
    memory_bytes: int = Field(default=2 << 30, ge=64 << 20)
    #: Processor time that one image may take; 50 megapixels take a few seconds.
    seconds: int = Field(default=20, ge=1)


class LossWeightsSettings(BaseSettings):
    """Where the weights of loss networks are, besides the package."""

    model_config = SettingsConfigDict(env_prefix="NST_", frozen=True, env_ignore_empty=True)

    #: NST_LOSS_WEIGHTS: a folder of weights files, or one file where only one network is used.
    loss_weights: Path | None = None
    #: Where torchvision's official files are; another one for a mirror of them.
    loss_weights_url: str = "https://download.pytorch.org/models"


def unknown_variables(environment: Mapping[str, str] = os.environ) -> list[str]:
    """Return a sentence for each NST_* variable that nothing of nst reads, such as one that is misspelled."""
    known = set(_OTHER_VARIABLES)
    for module, name in _SETTINGS:
        # By name, because scheduler and worker never import each other, and one environment may be for both.
        settings: type[BaseSettings] = getattr(import_module(module), name)
        known |= {f"NST_{field}".upper() for field in settings.model_fields}
    sentences = []
    for name in sorted(name for name in environment if name.startswith("NST_") and name not in known):
        close = get_close_matches(name, known, n=1, cutoff=0.8)
        sentences.append(f"{name} is no setting of nst{f'; is {close[0]} meant?' if close else '.'}")
    return sentences


def describe(error: ValidationError | SettingsError) -> str:
    """Return what is wrong with settings in one line, without their values."""
    if isinstance(error, SettingsError):
        name = str(error).partition('"')[2].partition('"')[0]
        return f"NST_{name}".upper() + " is no JSON of its type"
    problems = []
    for problem in error.errors(include_input=False, include_url=False):
        names = [f"NST_{part}".upper() for part in problem["loc"][:1]]
        problems.append(" ".join([*names, problem["msg"].removeprefix("Value error, ")]))
    return "; ".join(problems)
