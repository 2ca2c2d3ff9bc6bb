"""The scheduler's settings, read once from `NST_*` variables."""

from typing import Literal

from pydantic import Field, FilePath, IPvAnyNetwork, SecretStr
from pydantic_settings import SettingsConfigDict

from nst_core.settings import BrokerSettings, StorageSettings


class SchedulerSettings(BrokerSettings, StorageSettings):
    """All settings of a scheduler process."""

    model_config = SettingsConfigDict(env_parse_none_str="null", hide_input_in_errors=True)

    #: SQLite or PostgreSQL, as an SQLAlchemy address.
    database_url: SecretStr = SecretStr("sqlite:///nst.db")
    host: str = "127.0.0.1"
    port: int = Field(8700, ge=0, le=65535)
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
    #: Chunks that wait in Redis at most, and one for each worker; the rest of the backlog stays in the database.
    dispatch_window: int = Field(8, ge=1)
    #: The same of the method optimize, whose chunks are one image each and take minutes.
    optimize_window: int = Field(2, ge=1)
    #: A chunk whose worker was silent for so long is given to another.
    lease_s: float = Field(30.0, gt=0)
    #: A chunk that no worker has begun for so long is sent again.
    dispatch_lease_s: float = Field(600.0, gt=0)
    #: The same of the method optimize, where a chunk waits for others to be done.
    optimize_dispatch_lease_s: float = Field(3600.0, gt=0)
    #: Chunks are sent again when the queue has been empty for so long although they were not begun.
    lost_after_s: float = Field(5.0, gt=0)
    #: Tries at an item after passing faults, and at a chunk whose workers die before it is halved.
    max_attempts: int = Field(3, ge=1)
    #: Pause before a retry after a passing fault; doubles with each.
    retry_backoff_s: float = Field(2.0, ge=0)
    #: s3:// address of a prefix of training photos, for runs that bring none of their own.
    training_data: str | None = None
    #: Runs that are trained at once; the others wait for their turn.
    max_concurrent_runs: int = Field(1, ge=1)
    #: A segment of a run ends after so much time, and the next one begins.
    train_segment_s: float = Field(60.0, gt=0)
    #: A segment that no worker has begun for so long is sent again.
    train_dispatch_lease_s: float = Field(3600.0, gt=0)
    #: Segments in a row that fail before their run does.
    max_run_failures: int = Field(10, ge=1)
    #: Days. Jobs are deleted so long after their end, but not their results; not set: never.
    retention_days: float | None = Field(None, gt=0)
    #: Days. Runs are deleted so long after their end, but not their styles; not set: never.
    run_retention_days: float | None = Field(None, gt=0)
    #: Days. Checkpoints and samples of runs are deleted so long after their end; such a run cannot go on. null: never.
    checkpoint_retention_days: float | None = Field(30.0, gt=0)
    #: Days. Uploads are deleted so long after they were last used; null: never.
    upload_retention_days: float | None = Field(30.0, gt=0)
    #: Events of jobs and runs that have ended, and deliveries of webhooks, are kept for so long.
    event_retention_days: float = Field(7.0, gt=0)
    #: Fernet keys with commas in between, for the secrets of webhooks: the first encrypts. Without one there are none.
    webhook_secret_key: SecretStr | None = None
    #: Webhooks may have http:// addresses.
    webhook_allow_http: bool = False
    #: Own networks that webhooks may be sent to, such as 10.1.0.0/16.
    webhook_allowed_networks: tuple[IPvAnyNetwork, ...] = ()
    #: PEM file of authorities that receivers' certificates may be of, besides those of the system.
    webhook_ca_file: FilePath | None = None
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    # Limits of tenants for which nothing else is set; `null`: unlimited. See `scheduler.access.limits`.
    #: Images that wait for a worker, of all jobs of a tenant.
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
    #: Of a result: where it is set, jobs have to say a max_px that keeps to it.
    max_result_pixels: int | None = Field(None, ge=1)
