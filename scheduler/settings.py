"""The scheduler's settings, read once from `NST_*` variables."""

import os
from typing import Any, Literal

from pydantic import Field, FilePath, IPvAnyNetwork, SecretStr, model_validator
from pydantic_settings import BaseSettings

from nst_core.settings import READING, BrokerSettings, LogSettings, MetricsSettings, StorageSettings


class DatabaseSettings(BaseSettings):
    """Where the database is."""

    model_config = READING

    #: NST_DATABASE_URL: SQLite or PostgreSQL, as an SQLAlchemy address.
    database_url: SecretStr = SecretStr("sqlite:///nst.db")
    #: What a start does with a database of an older version: migrate it, or refuse to start until `nst db upgrade` did.
    migrate: Literal["auto", "refuse"] = "auto"

    @model_validator(mode="before")
    @classmethod
    def _says_where(cls, given: dict[str, Any]) -> dict[str, Any]:
        # Whoever forgot to fill in the address would get a new database on this machine, and miss all jobs.
        if "database_url" not in given and os.environ.get("NST_DATABASE_URL") == "":
            raise ValueError("NST_DATABASE_URL is empty; remove it for SQLite in this folder (sqlite:///nst.db)")
        return given


class ApiSettings(BaseSettings):
    """Where the API listens."""

    model_config = READING

    host: str = "127.0.0.1"
    port: int = Field(8700, ge=0, le=65535)


class SchedulerSettings(BrokerSettings, StorageSettings, MetricsSettings, LogSettings, DatabaseSettings, ApiSettings):
    """All settings of a scheduler process."""

    model_config = READING

    #: A key that is valid from the start, for the tenant `default`; only its hash is stored.
    bootstrap_api_key: SecretStr | None = None
    #: Buckets besides NST_S3_BUCKET that jobs may read from and write to.
    extra_buckets: tuple[str, ...] = ()
    #: Items of one chunk, the unit of dispatch, while it is not known how long they take.
    chunk_size: int = Field(16, ge=1, le=1000)
    #: Work in one chunk, once it is known. What dies with a worker is done again, and a stop waits for what is begun.
    chunk_s: float = Field(60.0, gt=0)
    #: Inputs that are planned in one transaction.
    plan_page: int = Field(200, ge=1, le=1000)
    #: The most chunks that wait in Redis, and never more than there are workers; urgent jobs may double it. The others
    #: wait in the database.
    dispatch_window: int = Field(8, ge=1)
    #: The same for the method optimize, whose chunks have one image each and take minutes.
    optimize_window: int = Field(2, ge=1)
    #: Seconds without a report from its worker after which a chunk is given to another one.
    lease_s: float = Field(30.0, gt=0)
    #: Seconds after which a chunk that no worker has begun is sent again.
    dispatch_lease_s: float = Field(600.0, gt=0)
    #: The same for the method optimize, in which a chunk waits until others are done.
    optimize_dispatch_lease_s: float = Field(3600.0, gt=0)
    #: If the queue has been empty for this many seconds, chunks that no worker has begun are sent again.
    lost_after_s: float = Field(5.0, gt=0)
    #: The most tries at an item with temporary faults, and the number of lost workers after which a chunk is halved.
    max_attempts: int = Field(3, ge=1)
    #: Seconds before a retry after a temporary fault; doubled for each further retry.
    retry_backoff_s: float = Field(2.0, ge=0)
    #: s3:// address of a prefix with the training photos of runs that do not specify their own.
    training_data: str | None = None
    #: Runs that are trained at the same time; the others wait.
    max_concurrent_runs: int = Field(1, ge=1)
    #: Seconds after which a segment of a run ends, and the next one begins.
    train_segment_s: float = Field(60.0, gt=0)
    #: Seconds after which a segment that no worker has begun is sent again.
    train_dispatch_lease_s: float = Field(3600.0, gt=0)
    #: A run fails after this many failed segments in a row.
    max_run_failures: int = Field(10, ge=1)
    #: Days after its end until a job is deleted, but not its results; by default never.
    retention_days: float | None = Field(None, gt=0)
    #: Days after its end until a run is deleted, but not its styles; by default never.
    run_retention_days: float | None = Field(None, gt=0)
    #: Days after the end of a run until its checkpoints and samples are deleted, and it cannot be resumed; null: never.
    checkpoint_retention_days: float | None = Field(30.0, gt=0)
    #: Days after its last use until an upload is deleted; null: never.
    upload_retention_days: float | None = Field(30.0, gt=0)
    #: How long events of jobs and runs that have ended, and deliveries of webhooks, are kept.
    event_retention_days: float = Field(7.0, gt=0)
    #: Fernet keys, separated by commas, for the secrets of webhooks. The first one encrypts. Without keys, webhooks are
    #: disabled.
    webhook_secret_key: SecretStr | None = None
    #: Webhooks may have http:// addresses.
    webhook_allow_http: bool = False
    #: Private networks that webhooks may be sent to, such as 10.1.0.0/16.
    webhook_allowed_networks: tuple[IPvAnyNetwork, ...] = ()
    #: PEM file of certificate authorities of receivers, in addition to those of the system.
    webhook_ca_file: FilePath | None = None
    # Limits of tenants for which nothing else is set; `null`: unlimited. See `scheduler.access.limits`.
    #: Images that wait for a worker, in all jobs of a tenant.
    max_queued_items: int | None = Field(5_000_000, ge=1)
    max_unfinished_jobs: int | None = Field(10_000, ge=1)
    max_items_per_job: int | None = Field(2_000_000, ge=1)
    max_unfinished_runs: int | None = Field(1000, ge=1)
    max_upload_bytes: int | None = Field(200 * 2**20, ge=1)
    #: Of the JSON of a request.
    max_body_bytes: int | None = Field(4 * 2**20, ge=1)
    #: Of all API keys of a tenant together, and how many may come at once.
    requests_per_s: float | None = Field(500.0, gt=0)
    burst: int | None = Field(2000, ge=1)
    #: API keys of a tenant that are valid at the same time.
    max_keys: int | None = Field(1000, ge=1)
    #: Uploads of a tenant.
    max_uploads: int | None = Field(100_000, ge=1)
    #: Streams of events that a tenant may have open at once, at each scheduler.
    max_streams: int | None = Field(100, ge=1)
    #: The most pixels of a result; if it is set, jobs must have a max_px that ensures it.
    max_result_pixels: int | None = Field(None, ge=1)
