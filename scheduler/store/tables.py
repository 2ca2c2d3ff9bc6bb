"""The tables. Times are seconds since 1970 (UTC), so that leases compare alike in SQLite and PostgreSQL."""

from enum import StrEnum
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)

from nst_core.blends import MAX_NAME
from nst_core.client.resources.events import EventType
from nst_core.client.resources.items import ItemStatus
from nst_core.client.resources.jobs import JobStatus, Priority, StopReason
from nst_core.client.resources.runs import RunStatus
from nst_core.client.resources.webhooks import DeliveryStatus
from nst_core.protocol.segments import Phase
from scheduler.domain.jobs import ChunkStatus
from scheduler.domain.runs import SegmentState, Stop

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)
#: The tenant of styles that come with nst.
SHIPPED = ""
#: SQLite counts rows up only for a column of type INTEGER.
BigId = BigInteger().with_variant(Integer, "sqlite")


class Word(TypeDecorator[Any]):
    """A column of text that is read as a member of an enum."""

    impl = String
    cache_ok = True

    def __init__(self, kind: type[StrEnum], length: int) -> None:
        super().__init__(length)
        self.kind = kind

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        return None if value is None else self.kind(value)


api_keys = Table(
    "api_keys",
    metadata,
    Column("prefix", String(16), primary_key=True),
    Column("sha256", String(64), nullable=False),
    Column("tenant", String(64), nullable=False),
    Column("name", String(100), nullable=False),
    Column("scopes", JSON, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double),
    Column("revoked_at", Double),
    #: To the minute.
    Column("last_used_at", Double),
    #: The secret before the last rotation, and when it ends.
    Column("previous_sha256", String(64)),
    Column("previous_until", Double),
    Index(None, "tenant", "created_at", "prefix"),
)

#: The settings of tenants; a tenant without a row has all defaults.
tenants = Table(
    "tenants",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("weight", Double, nullable=False),
    #: s3:// prefixes; null: see scheduler.access.places.Permissions.
    Column("read_places", JSON(none_as_null=True)),
    Column("write_places", JSON(none_as_null=True)),
    #: The limits that differ from the defaults, by name; null means unlimited.
    Column("limits", JSON, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
)

styles = Table(
    "styles",
    metadata,
    #: Who made it, and alone sees it; `SHIPPED`: all see it.
    Column("tenant", String(64), primary_key=True),
    Column("name", String(64), primary_key=True),
    Column("version", String(64), nullable=False),
    Column("weights", Text, nullable=False),
    #: Which style of the network in the weights file it is, from 0.
    Column("index", Integer, nullable=False),
    #: The config of this network, a TransformerConfig from its `to_dict`; null if it was made before this column.
    Column("network", JSON(none_as_null=True)),
    Column("card", JSON, nullable=False),
    Column("created_at", Double, nullable=False),
)

style_versions = Table(
    "style_versions",
    metadata,
    Column("version", String(64), primary_key=True),
    Column("weights", Text, nullable=False),
    #: Which style of the network in the weights file it is, from 0.
    Column("index", Integer, nullable=False),
    #: The config of this network, a TransformerConfig from its `to_dict`; null if it was made before this column.
    Column("network", JSON(none_as_null=True)),
    Column("created_at", Double, nullable=False),
)

#: Every version that a name has or had, or that waits to be published under it, with the card of each.
style_cards = Table(
    "style_cards",
    metadata,
    #: Who made it, and alone sees it; `SHIPPED`: all see it.
    Column("tenant", String(64), primary_key=True),
    Column("name", String(64), primary_key=True),
    Column("version", String(64), ForeignKey("style_versions.version"), primary_key=True),
    Column("card", JSON, nullable=False),
    #: The run that made it; null: it was imported or comes with nst.
    Column("run_id", String(40)),
    Column("created_at", Double, nullable=False),
    #: When the style first got this version; null: it never had it.
    Column("published_at", Double),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("status", Word(JobStatus, 24), nullable=False),
    #: Without the addresses of inline photos, which listings and most loops do not need.
    Column("spec", JSON, nullable=False),
    #: These addresses, and their number; null if the input is a prefix or a manifest.
    Column("input_uris", JSON(none_as_null=True)),
    Column("input_count", Integer),
    #: Copied from the spec, for lists and for dispatch.
    Column("method", String(16), nullable=False),
    #: The custom id, or null.
    Column("client_id", String(64)),
    Column("fingerprint", String(64), nullable=False),
    Column("priority", Word(Priority, 8), nullable=False),
    Column("deadline", Double),
    #: Items that had failed when the job was last retried.
    Column("forgiven", BigInteger, nullable=False, default=0),
    Column("planned_inputs", BigInteger, nullable=False, default=0),
    Column("planned_key", Text, nullable=False, default=""),
    #: The input is read to its end, or cannot be read any further.
    Column("planned", Boolean, nullable=False, default=False),
    #: There may be pending items that are in no chunk: the job was retried, or is being stopped.
    Column("unchunked", Boolean, nullable=False, default=False),
    #: Which items a retry has not reopened yet: a scheduler.domain.jobs.Reopening; null: it is done.
    Column("reopening", JSON(none_as_null=True)),
    #: How often a client has retried the job.
    Column("retries", Integer, nullable=False, default=0),
    #: Why the job ends before its time.
    Column("stop", Word(StopReason, 16)),
    #: The job is being deleted: it is shown to nobody.
    Column("pruned", Boolean, nullable=False, default=False),
    #: Its images are deleted along with it.
    Column("with_results", Boolean, nullable=False, default=False),
    Column("total", BigInteger, nullable=False, default=0),
    Column("pending", BigInteger, nullable=False, default=0),
    Column("running", BigInteger, nullable=False, default=0),
    Column("succeeded", BigInteger, nullable=False, default=0),
    Column("failed", BigInteger, nullable=False, default=0),
    Column("cancelled", BigInteger, nullable=False, default=0),
    Column("created_at", Double, nullable=False),
    Column("started_at", Double),
    Column("finished_at", Double),
    Column("error_code", String(64)),
    Column("error_message", Text),
    UniqueConstraint("tenant", "client_id"),
    Index(None, "status", "id"),
    Index(None, "tenant", "id"),
    Index(None, "tenant", "status", "id"),
)

#: The metadata of jobs, for listings.
job_labels = Table(
    "job_labels",
    metadata,
    Column("job_id", String(40), ForeignKey("jobs.id"), primary_key=True),
    Column("key", String(64), primary_key=True),
    Column("value", String(512), nullable=False),
    Column("tenant", String(64), nullable=False),
    Index(None, "tenant", "key", "value", "job_id"),
)

#: Requests with an Idempotency-Key, in progress or finished.
idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("tenant", String(64), primary_key=True),
    Column("key", String(255), primary_key=True),
    Column("operation", String(32), nullable=False),
    Column("fingerprint", String(64), nullable=False),
    #: Random; it differs if another request has taken over the claim.
    Column("claim", String(32), nullable=False),
    Column("resource_id", String(40), index=True),
    Column("claimed_at", Double, nullable=False),
    Column("created_at", Double, nullable=False, index=True),
)

#: How long items take, as a running mean.
rates = Table(
    "rates",
    metadata,
    Column("method", String(16), primary_key=True),
    Column("version", String(64), primary_key=True),
    #: Longest side, rounded up to a power of two; 0: as the photos are.
    Column("px_class", Integer, primary_key=True, autoincrement=False),
    #: The option of the job: auto or exact.
    Column("precision", String(8), primary_key=True),
    #: auto, fine, varied, or the size of the strokes, rounded up to a power of two; then how much results are enlarged,
    #: if they are.
    Column("stroke", String(8), primary_key=True),
    Column("samples", BigInteger, nullable=False),
    Column("mean_ms", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
)

#: Workers that have reported, and when they last did, to some seconds.
workers = Table(
    "workers",
    metadata,
    Column("name", String(255), primary_key=True),
    Column("seen_at", Double, nullable=False, index=True),
)

chunks = Table(
    "chunks",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=True),
    Column("job_id", String(40), ForeignKey("jobs.id"), nullable=False),
    #: The job's method, which determines the queue of the chunk.
    Column("method", String(16), nullable=False),
    #: Name and version of the style; for the method optimize a painting's stem, and the hash of its address and config.
    Column("style", String(MAX_NAME), nullable=False),
    Column("version", String(64), nullable=False),
    Column("status", Word(ChunkStatus, 16), nullable=False),
    #: The fencing token: the number of times that the chunk was claimed.
    Column("attempt", Integer, nullable=False, default=0),
    #: Attempts that ended with a temporary fault.
    Column("failures", Integer, nullable=False, default=0),
    #: Attempts whose worker stopped responding, including those of the chunk from which this one was split.
    Column("deaths", Integer, nullable=False, default=0),
    Column("worker", String(255)),
    #: If the worker of this attempt stops responding, the chunk is not to blame: the worker waits to begin it, or was
    #: told to end.
    Column("blameless", Boolean, nullable=False, default=False),
    Column("not_before", Double, nullable=False, default=0.0),
    Column("claimed_at", Double),
    Column("lease_until", Double),
    Index(None, "job_id", "status", "id"),
    Index(None, "status", "lease_until"),
)

items = Table(
    "items",
    metadata,
    Column("job_id", String(40), ForeignKey("jobs.id"), primary_key=True),
    #: Place in the job, from 0: input number x styles + style number.
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("chunk_id", BigId, ForeignKey("chunks.id"), index=True),
    Column("input", Text, nullable=False),
    Column("custom_id", String(255)),
    #: The address of the photo's own mask.
    Column("mask", Text),
    #: A list of the addresses of the photo's own masks of the job's regions; null: none.
    Column("regions", JSON(none_as_null=True)),
    Column("style", String(MAX_NAME), nullable=False),
    Column("output", Text, nullable=False),
    #: The output, if this item claimed it; null if another item of the job had claimed it before.
    Column("claimed_output", Text),
    Column("status", Word(ItemStatus, 16), nullable=False),
    Column("attempt", Integer),
    Column("sha256", String(64)),
    Column("bytes", BigInteger),
    Column("width", Integer),
    Column("height", Integer),
    Column("ms", Integer),
    #: The engine that made the output, and its precision; null if the method has no engines.
    Column("engine", String(32)),
    Column("precision", String(8)),
    Column("error_code", String(64)),
    Column("error_message", Text),
    #: A warning about an output that may not be what its owner expects.
    Column("warning", Text),
    #: Of an optimisation: iteration, iterations, losses, preview.
    Column("progress", JSON(none_as_null=True)),
    UniqueConstraint("job_id", "claimed_output"),
    Index(None, "job_id", "status", "position"),
)

runs = Table(
    "runs",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("tenant", String(64), nullable=False),
    #: Of the style.
    Column("name", String(64), nullable=False),
    Column("status", Word(RunStatus, 24), nullable=False),
    Column("spec", JSON, nullable=False),
    #: Steps of the last good checkpoint.
    Column("step", Integer, nullable=False, default=0),
    Column("steps", Integer, nullable=False),
    #: The fencing token: the number of segments that were sent.
    Column("attempt", Integer, nullable=False, default=0),
    #: The state of the segment, and its phase.
    Column("live", Word(SegmentState, 16), nullable=False, default=SegmentState.NONE),
    Column("phase", Word(Phase, 16)),
    Column("claimed_at", Double),
    Column("lease_until", Double),
    Column("not_before", Double, nullable=False, default=0.0),
    #: Segments in a row that failed.
    Column("failures", Integer, nullable=False, default=0),
    Column("worker", String(255)),
    Column("progress", JSON(none_as_null=True)),
    Column("photos", JSON(none_as_null=True)),
    #: The config with the resulting style weights.
    Column("config", JSON(none_as_null=True)),
    Column("checkpoint_uri", Text),
    Column("checkpoint_sha256", String(64)),
    Column("result", JSON(none_as_null=True)),
    Column("version", String(64)),
    #: What a client has requested for a live segment.
    Column("stop", Word(Stop, 16), nullable=False, default=Stop.NONE),
    Column("error_code", String(64)),
    Column("error_message", Text),
    Column("fingerprint", String(64), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("started_at", Double),
    Column("finished_at", Double),
    Column("train_seconds", Double, nullable=False, default=0.0),
    #: The run's place in storage may have objects that nothing needs.
    Column("untidy", Boolean, nullable=False, default=False),
    #: Its checkpoints and samples were deleted some time after its end, so it cannot be resumed.
    Column("emptied", Boolean, nullable=False, default=False),
    #: The run is being deleted: it is shown to nobody.
    Column("pruned", Boolean, nullable=False, default=False),
    Index(None, "status", "id"),
    Index(None, "tenant", "id"),
)

#: Events of jobs and runs; store/events.py explains how they are read.
events = Table(
    "events",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=True),
    Column("tenant", String(64), nullable=False),
    #: A job's or a run's id; the row may be gone.
    Column("subject", String(40), nullable=False),
    Column("type", Word(EventType, 32), nullable=False),
    Column("data", JSON, nullable=False),
    Column("created_at", Double, nullable=False),
    #: Deliveries were added for all webhooks that want the event.
    Column("fanned_out", Boolean, nullable=False),
    Index(None, "subject", "id"),
    Index(None, "tenant", "id"),
    Index(None, "fanned_out", "id"),
    Index(None, "created_at"),
)

#: Webhooks: the addresses to which tenants want events sent.
webhooks = Table(
    "webhooks",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("url", Text, nullable=False),
    #: Types of events, or "*".
    Column("types", JSON, nullable=False),
    Column("description", Text, nullable=False),
    Column("enabled", Boolean, nullable=False),
    #: Why nst disabled it: gone or failing; null if a client did.
    Column("disabled_reason", String(16)),
    #: Encrypted.
    Column("secret", Text, nullable=False),
    #: The previous secret, which also signs messages until that time.
    Column("old_secret", Text),
    Column("old_secret_until", Double),
    #: The time of the first failed try since the last success.
    Column("failing_since", Double),
    Column("created_at", Double, nullable=False),
    Index(None, "tenant", "id"),
)

#: A message for one webhook, and its delivery.
deliveries = Table(
    "deliveries",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=True),
    Column("webhook_id", String(40), ForeignKey("webhooks.id"), nullable=False),
    #: The same at each try, even after a crash, so that receivers can drop duplicates.
    Column("message_id", String(40), nullable=False),
    Column("type", String(32), nullable=False),
    #: The exact bytes that are sent.
    Column("body", LargeBinary, nullable=False),
    Column("status", Word(DeliveryStatus, 16), nullable=False),
    Column("error", Text),
    #: Tries that failed since it was created or last sent again.
    Column("failures", Integer, nullable=False),
    #: The last tries, each with at, status, error and ms.
    Column("tries", JSON, nullable=False),
    Column("next_at", Double, nullable=False),
    #: The fencing token: the number of times that it was claimed.
    Column("claims", Integer, nullable=False),
    Column("lease_until", Double, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("done_at", Double),
    Index(None, "webhook_id", "id"),
    Index(None, "status", "next_at"),
    Index(None, "webhook_id", "status", "next_at"),
    Index(None, "status", "lease_until"),
    Index(None, "done_at"),
)

#: Uploads of photos by clients without credentials for the storage.
uploads = Table(
    "uploads",
    metadata,
    Column("tenant", String(64), primary_key=True),
    Column("id", String(40), primary_key=True),
    Column("created_at", Double, nullable=False),
    #: When the last file was added, rounded to the hour.
    Column("used_at", Double, nullable=False),
    #: The upload is being deleted: it is shown to nobody.
    Column("pruned", Boolean, nullable=False, default=False),
    Index(None, "tenant", "created_at", "id"),
    Index(None, "pruned", "used_at"),
)

#: Accepted segments of runs.
segments = Table(
    "segments",
    metadata,
    Column("run_id", String(40), ForeignKey("runs.id"), primary_key=True),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    Column("phase", Word(Phase, 16), nullable=False),
    Column("from_step", Integer, nullable=False),
    Column("to_step", Integer, nullable=False),
    Column("worker", String(255), nullable=False),
    Column("seconds", Double, nullable=False),
    #: Null if there was no checkpoint, or if it was not kept.
    Column("checkpoint_uri", Text),
    Column("checkpoint_sha256", String(64)),
    Column("losses", Text),
    Column("finished_at", Double, nullable=False),
)
