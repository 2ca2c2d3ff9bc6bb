"""Settings that the scheduler and the workers share, read from `NST_*` variables.

Each process has one settings class that extends these; it is read once, at the start.
"""

import os
from collections.abc import Mapping
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

_SETTINGS = (
    ("nst_core.settings", "DecoderSettings"),
    ("nst_core.settings", "LossWeightsSettings"),
    ("scheduler.settings", "SchedulerSettings"),
    ("worker.settings", "WorkerSettings"),
)
#: Other variables, which the command line and the tests read.
_OTHER_VARIABLES = ("NST_API_KEY", "NST_HOME", "NST_URL", "NST_TEST_MARK")
#: The least length of NST_MESSAGE_SECRET.
MIN_SECRET_CHARACTERS = 32


#: How all classes of settings read variables: one that is empty counts as not set, so that files which name every
#: variable can be filled in as needed. Errors do not show the values, because some are secrets.
READING = SettingsConfigDict(
    env_prefix="NST_", env_ignore_empty=True, env_parse_none_str="null", frozen=True, hide_input_in_errors=True
)


class BrokerSettings(BaseSettings):
    """The address of Redis, and the secret that proves that a message in it is genuine."""

    model_config = READING

    #: NST_REDIS_URL; use a Redis database that nothing else uses.
    redis_url: SecretStr = SecretStr("redis://127.0.0.1:6379/0")
    #: NST_MESSAGE_SECRET; signs messages and events. It must be the same for all schedulers and workers.
    message_secret: SecretStr = Field(SecretStr(""), validate_default=True)
    #: NST_HEARTBEAT_FILE; touched every second while the process makes progress. See `nst_core.system.heartbeat`.
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
        # Celery would take any other word for "none".
        if not {*parse_qs(url.query).get("ssl_cert_reqs", ())} <= {"none", "optional", "required"}:
            raise ValueError("may say ssl_cert_reqs=required, which is the default, or ssl_cert_reqs=none")
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
    """The address and the credentials of the object storage."""

    model_config = READING

    #: NST_S3_ENDPOINT; empty for Amazon S3.
    s3_endpoint: str | None = None
    s3_region: str = "us-east-1"
    #: Empty for boto3's default credentials (profile, instance role).
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


class MetricsSettings(BaseSettings):
    """Where a process serves its metrics."""

    model_config = READING

    #: NST_METRICS_PORT; empty: metrics are not served. Whoever can reach it needs no key, so keep it internal.
    metrics_port: int | None = Field(None, ge=1, le=65535)
    metrics_host: str = "127.0.0.1"


class LogSettings(BaseSettings):
    """What a process logs, and how."""

    model_config = READING

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    #: NST_LOG_FORMAT; json: one object a line, see deploy/monitoring/README.md.
    log_format: Literal["text", "json"] = "text"


class DecoderSettings(BaseSettings):
    """Limits of image decoding, for which each process has a few child processes."""

    model_config = READING | SettingsConfigDict(env_prefix="NST_DECODER_")

    #: NST_DECODER_PROCESSES: images decoded at the same time.
    processes: int = Field(default_factory=lambda: min(4, max(2, os.cpu_count() or 1)), ge=1)
    #: Bytes of memory for all images that are decoded at the same time; a single image may take all of it.
    memory_bytes: int = Field(default=2 << 30, ge=64 << 20)
    #: Seconds of processor time that one image may take; 50 megapixels take a few seconds.
    seconds: int = Field(default=20, ge=1)


class LossWeightsSettings(BaseSettings):
    """Where to find the weights of loss networks that are not in the package."""

    model_config = READING

    #: NST_LOSS_WEIGHTS: a folder of weights files, or one file if only one network is used.
    loss_weights: Path | None = None
    #: The address of torchvision's official files or of a mirror.
    loss_weights_url: str = "https://download.pytorch.org/models"


def secrets_of(settings: BaseSettings) -> list[str]:
    """Return the values that logs must not have: passwords of addresses, and all other secrets in settings."""
    secrets = []
    for _, value in settings:
        text = value.get_secret_value() if isinstance(value, SecretStr) else ""
        password = urlsplit(text).password or "" if "://" in text else None
        # Some settings are lists, with commas.
        secrets += text.split(",") if password is None else [password, unquote(password)]
    return [secret for secret in secrets if secret]


def unknown_variables(environment: Mapping[str, str] = os.environ) -> list[str]:
    """Return a sentence for each NST_* variable that nst does not read, for example because it is misspelled."""
    known = set(_OTHER_VARIABLES)
    for module, name in _SETTINGS:
        # By name, because scheduler and worker never import each other, and both may share one environment.
        settings: type[BaseSettings] = getattr(import_module(module), name)
        known |= {f"{settings.model_config['env_prefix']}{field}".upper() for field in settings.model_fields}
    sentences = []
    for name in sorted(name for name in environment if name.startswith("NST_") and name not in known):
        close = get_close_matches(name, known, n=1, cutoff=0.8)
        sentences.append(f"{name} is not a setting of nst{f'; did you mean {close[0]}?' if close else '.'}")
    return sentences


def describe(error: ValidationError | SettingsError) -> str:
    """Describe errors of settings in one line, without their values."""
    if isinstance(error, SettingsError):
        name = str(error).partition('"')[2].partition('"')[0]
        return f"NST_{name}".upper() + " is not valid JSON"
    problems = []
    prefix = DecoderSettings.model_config["env_prefix"] if error.title == DecoderSettings.__name__ else "NST_"
    for problem in error.errors(include_input=False, include_url=False):
        names = [f"{prefix}{part}".upper() for part in problem["loc"][:1]]
        problems.append(" ".join([*names, problem["msg"].removeprefix("Value error, ")]))
    return "; ".join(problems)
