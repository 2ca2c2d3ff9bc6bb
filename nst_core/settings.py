"""Settings that the scheduler and the workers share, read from `NST_*` variables.

Each process has one settings class of its own that adds to these; it is read once, at the start.
"""

from pathlib import Path

from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class BrokerSettings(BaseSettings):
    """Where Redis is."""

    model_config = SettingsConfigDict(env_prefix="NST_", frozen=True)

    #: NST_REDIS_URL; a database of Redis for nst alone.
    redis_url: SecretStr = SecretStr("redis://127.0.0.1:6379/0")


class StorageSettings(BaseSettings):
    """Where the object storage is."""

    model_config = SettingsConfigDict(env_prefix="NST_", frozen=True)

    #: NST_S3_ENDPOINT; empty for Amazon's own.
    s3_endpoint: str | None = None
    s3_region: str = "us-east-1"
    #: Empty for boto3's usual chain (profile, instance role).
    s3_access_key: SecretStr | None = None
    s3_secret_key: SecretStr | None = None
    #: The bucket for uploads, results and style weights.
    s3_bucket: str = "nst"


class LossWeightsSettings(BaseSettings):
    """Where the weights of loss networks are, besides the package."""

    model_config = SettingsConfigDict(env_prefix="NST_", frozen=True, env_ignore_empty=True)

    #: NST_LOSS_WEIGHTS: a folder of weights files, or one file where only one network is used.
    loss_weights: Path | None = None
    #: Where torchvision's official files are; another one for a mirror of them.
    loss_weights_url: str = "https://download.pytorch.org/models"
