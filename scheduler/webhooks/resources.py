"""What the API tells of webhooks. Times are RFC 3339."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Webhook:
    """Where the API tells of events."""

    id: str
    url: str
    #: Types of events; `*` stands for all.
    types: tuple[str, ...]
    description: str = ""
    enabled: bool = True
    #: gone or failing, where no client has disabled it.
    disabled_reason: str | None = None
    failing_since: str | None = None
    #: After a rotation, so long the old secret signs as well.
    old_secret_until: str | None = None
    created_at: str | None = None


@dataclass(frozen=True, kw_only=True)
class NewSecret(Webhook):
    """A webhook with the secret that it has just got; see `scheduler.webhooks.signing.verify`."""

    secret: str


@dataclass(frozen=True, kw_only=True)
class Try:
    """One try to send a message."""

    at: str
    #: Of the HTTP answer; None: there was none.
    status: int | None = None
    error: str | None = None
    ms: int = 0


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """A message for a webhook."""

    id: int
    #: The header webhook-id of all tries.
    message_id: str
    type: str
    #: pending, delivered or failed.
    status: str
    error: str | None = None
    tries: tuple[Try, ...] = ()
    next_try_at: str | None = None
    created_at: str | None = None
    done_at: str | None = None
