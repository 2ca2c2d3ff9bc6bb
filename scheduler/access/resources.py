"""What clients get about keys and tenants: frozen values like the API's JSON."""

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Key:
    """An API key, without its secret."""

    id: str
    name: str
    tenant: str
    scopes: tuple[str, ...]
    #: active, expired or revoked.
    status: str
    created_at: str
    expires_at: str | None = None
    revoked_at: str | None = None
    #: To the minute.
    last_used_at: str | None = None
    #: The secret of before the last rotation is good until then.
    previous_until: str | None = None


@dataclass(frozen=True, kw_only=True)
class NewKey(Key):
    """An API key with its secret, which nobody can be told again."""

    key: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What a tenant uses now."""

    queued_items: int
    unfinished_jobs: int
    unfinished_runs: int


@dataclass(frozen=True, kw_only=True)
class Tenant:
    """A tenant: what is set for it, what counts for it, and what it uses."""

    id: str
    weight: float
    #: s3:// folders; None: all buckets of the installation for the tenant default, only the own place for others.
    read: tuple[str, ...] | None
    write: tuple[str, ...] | None
    #: The limits that were set for it alone; None: unlimited.
    overrides: dict[str, float | None]
    limits: dict[str, float | None]
    usage: Usage


@dataclass(frozen=True, kw_only=True)
class OwnTenant(Tenant):
    """The tenant of the key in use, and that key."""

    key: Key
