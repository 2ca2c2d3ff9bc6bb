"""API keys and tenants: who may do what, and how much."""

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, Field, StringConstraints

from nst_core.client.resources.base import Moment, Request, Resource, shown
from nst_core.client.resources.pages import Page

TENANT_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"
DEFAULT_OVERLAP_S = 3600
MAX_OVERLAP_S = 7 * 24 * 3600
_Place = Annotated[str, StringConstraints(min_length=1, max_length=1024, pattern=r"^s3://[^/]+")]
_Places = Annotated[tuple[_Place, ...], Field(max_length=100)] | None
_Count = Annotated[int, Field(ge=0, le=2**53)] | None
_READ = (
    "s3:// folders that jobs may read, besides the tenant's own. Null: no others; for the tenant default, all buckets."
)
_WRITE = (
    "s3:// folders that results may go to, besides the tenant's own. Null: no others; for the tenant default, all "
    "buckets."
)
_KEY: dict[str, Any] = {
    "id": "3f9a10c2",
    "name": "nightly batch",
    "tenant": "gallery",
    "scopes": ["jobs:read", "jobs:write"],
    "status": "active",
    "created_at": "2026-11-22T12:00:00Z",
    "expires_at": None,
    "revoked_at": None,
    "last_used_at": "2026-11-22T12:41:00Z",
    "previous_until": None,
}
_TENANT: dict[str, Any] = {
    "id": "gallery",
    "weight": 2.0,
    "read": ["s3://photos/2026/"],
    "write": None,
    "overrides": {"max_items_per_job": 10_000},
    "limits": {
        "max_queued_items": 10_000_000,
        "max_unfinished_jobs": 1000,
        "max_items_per_job": 10_000,
        "max_unfinished_runs": 10,
        "max_upload_bytes": 104857600,
        "max_body_bytes": 8388608,
        "requests_per_s": 50.0,
        "burst": 100,
        "max_keys": 1000,
        "max_uploads": 100_000,
        "max_streams": 100,
        "max_result_pixels": None,
    },
    "usage": {"queued_items": 1440, "unfinished_jobs": 2, "unfinished_runs": 1},
}


class Scope(StrEnum):
    """What a key may do."""

    JOBS_READ = "jobs:read"  # see jobs, their items and results
    JOBS_WRITE = "jobs:write"  # submit and steer jobs, upload photos
    STYLES_READ = "styles:read"  # see styles, runs and their files
    STYLES_TRAIN = "styles:train"  # train, import, publish and delete styles, upload photos
    KEYS_WRITE = "keys:write"  # manage the keys of the own tenant
    ADMIN = "admin"  # manage the keys of all tenants, and the tenants


class KeyRequest(Request):
    """A new API key."""

    model_config = shown({"name": "nightly batch", "scopes": ["jobs:read", "jobs:write"]})

    name: Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")] = Field(
        description="What the key is for."
    )
    scopes: Annotated[tuple[Scope, ...], Field(min_length=1, max_length=len(Scope))] = Field(
        description="What the key may do; no more than the key that makes it."
    )
    expires_at: Moment | None = Field(None, description="RFC 3339. If omitted, the key does not expire.")
    tenant: Annotated[str, StringConstraints(pattern=TENANT_PATTERN)] | None = Field(
        None, description="Whose key it is. Only the scope admin may name another tenant than its own."
    )


class RotateRequest(Request):
    """A new secret for a key."""

    model_config = shown({"overlap_s": 3600})

    overlap_s: int = Field(
        DEFAULT_OVERLAP_S, ge=0, le=MAX_OVERLAP_S, description="The present secret stays valid for this many seconds."
    )


class Key(Resource):
    """An API key, without its secret."""

    model_config = shown(_KEY)

    id: str = Field(description="The 8 digits between nst_ and the secret.")
    name: str
    tenant: str
    scopes: tuple[str, ...]
    status: Literal["active", "expired", "revoked"]
    created_at: AwareDatetime
    expires_at: AwareDatetime | None = None
    revoked_at: AwareDatetime | None = None
    last_used_at: AwareDatetime | None = Field(None, description="To the minute.")
    previous_until: AwareDatetime | None = Field(None, description="The previous secret stays valid until this time.")


class NewKey(Key):
    """An API key with its secret, which is not shown again."""

    model_config = shown(_KEY | {"key": "nst_3f9a10c2_…"})

    key: str = Field(repr=False, description="The token for `Authorization: Bearer`. It cannot be shown again.")


class KeyPage(Page[Key, str]):
    """A page of keys, newest first."""


class Limits(Resource):
    """The most that a tenant may have and do; null means unlimited."""

    max_queued_items: _Count = Field(None, description="Images that wait for a worker, of all jobs together.")
    max_unfinished_jobs: _Count = None
    max_items_per_job: _Count = None
    max_unfinished_runs: _Count = Field(None, description="Trainings that have not ended.")
    max_upload_bytes: _Count = Field(None, description="The size of one file.")
    max_body_bytes: _Count = Field(None, description="The size of the JSON of a request.")
    requests_per_s: Annotated[float, Field(ge=0.001, le=1e6)] | None = Field(None, description="Of all keys together.")
    burst: Annotated[int, Field(ge=1, le=10**6)] | None = Field(None, description="Requests that may come at once.")
    max_keys: _Count = Field(None, description="API keys that are valid.")
    max_uploads: _Count = Field(None, description="Places for photos.")
    max_streams: _Count = Field(None, description="Open streams of events.")
    max_result_pixels: _Count = Field(
        None,
        description="The pixels of a result; jobs then must set a `max_px` that guarantees it, also after `upscale`.",
    )


class LimitsRequest(Limits, Request):
    """Limits that override the defaults; null means unlimited."""


class TenantRequest(Request):
    """All settings of a tenant. Omitted fields get their defaults."""

    model_config = shown({"weight": 2, "read": ["s3://photos/2026/"], "limits": {"max_items_per_job": 10_000}})

    weight: float = Field(1.0, ge=0.1, le=100, description="Its share of the workers, relative to other tenants.")
    read: _Places = Field(None, description=_READ)
    write: _Places = Field(None, description=_WRITE)
    limits: LimitsRequest = LimitsRequest()


class Usage(Resource):
    """What a tenant uses now."""

    queued_items: int
    unfinished_jobs: int
    unfinished_runs: int


class Tenant(Resource):
    """A tenant: its settings, the limits in force, and its present usage."""

    model_config = shown(_TENANT)

    id: str
    weight: float
    read: tuple[str, ...] | None = Field(description=_READ)
    write: tuple[str, ...] | None = Field(description=_WRITE)
    overrides: dict[str, float | None] = Field(description="The limits that were set for this tenant alone.")
    limits: Limits
    usage: Usage


class TenantPage(Page[Tenant, str]):
    """A page of tenants."""


class OwnTenant(Tenant):
    """The tenant of the key in use, and that key."""

    model_config = shown(_TENANT | {"key": _KEY, "training_photos": True})

    key: Key
    training_photos: bool | None = Field(
        None, description="Whether the scheduler has photos for trainings that name none."
    )
