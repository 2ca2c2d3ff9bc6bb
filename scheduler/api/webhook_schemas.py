"""Bodies of requests and responses about webhooks. Unknown fields are refused."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from scheduler.events import EventType
from scheduler.store.webhooks import Delivery, DeliveryStatus, Webhook

Url = Annotated[str, StringConstraints(min_length=1, max_length=2048)]
Description = Annotated[str, StringConstraints(max_length=500)]
_KNOWN = ("*", *EventType)
_DELIVERY_TRY = {"at": "2026-11-22T12:00:00Z", "status": 500, "error": None, "ms": 45}


def _known(types: Sequence[str]) -> Sequence[str]:
    for type_ in types:
        if type_ not in _KNOWN:
            raise ValueError(f"{type_!r} is no type of event; there are {', '.join(_KNOWN)}")
    return types


Types = Annotated[tuple[Annotated[str, StringConstraints(max_length=32)], ...], Field(min_length=1, max_length=50)]
KnownTypes = Annotated[Types, AfterValidator(_known)]


class WebhookBody(BaseModel):
    """Where to tell of which events."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "example": {
                "url": "https://example.com/hooks/nst",
                "types": ["job.completed", "run.completed"],
                "description": "The gallery",
            }
        },
    )

    url: Url = Field(description="https, a public host, and port 443 or one from 1024 on.")
    types: KnownTypes = Field(("*",), description="Types of events; * stands for all.")
    description: Description = ""
    enabled: bool = True


class WebhookChanges(BaseModel):
    """What is to be changed of a webhook; what is not given stays."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra={"example": {"enabled": True}})

    url: Url | None = None
    types: KnownTypes | None = None
    description: Description | None = None
    enabled: bool | None = Field(None, description="False also ends what waits to be sent; it may be replayed later.")

    @model_validator(mode="after")
    def _no_nulls(self) -> Self:
        if nulls := [name for name in self.model_fields_set if getattr(self, name) is None]:
            raise ValueError(f"{nulls[0]} cannot be null")
        return self

    def given(self) -> dict[str, Any]:
        """Return what is to be changed."""
        values = {name: getattr(self, name) for name in self.model_fields_set}
        return values | ({"types": list(values["types"])} if "types" in values else {})


class WebhookView(BaseModel):
    """A webhook."""

    id: str
    url: str
    types: list[str]
    description: str
    enabled: bool
    disabled_reason: Literal["gone", "failing"] | None = Field(
        description="gone: the receiver answered 410; failing: no try succeeded for five days."
    )
    failing_since: datetime | None
    old_secret_until: datetime | None = Field(description="After a rotation: so long the old secret signs as well.")
    created_at: datetime

    @classmethod
    def of(cls, webhook: Webhook, **more: Any) -> Self:
        """Return the view of a webhook."""
        reason: Any = webhook.disabled_reason
        return cls(
            id=webhook.id,
            url=webhook.url,
            types=webhook.types,
            description=webhook.description,
            enabled=webhook.enabled,
            disabled_reason=reason,
            failing_since=_time(webhook.failing_since),
            old_secret_until=_time(webhook.old_secret_until),
            created_at=datetime.fromtimestamp(webhook.created_at, UTC),
            **more,
        )


class NewSecretView(WebhookView):
    """A webhook with its new secret."""

    secret: str = Field(description="Signs the messages; it is not shown again.", examples=["whsec_…"])


class TryView(BaseModel):
    """One try to send a message."""

    at: datetime
    status: int | None = Field(description="Of the HTTP answer; null: there was none.")
    error: str | None
    ms: int


class DeliveryView(BaseModel):
    """A message for a webhook, and what became of it."""

    id: int
    message_id: str = Field(description="The header webhook-id of all tries.")
    type: str
    status: DeliveryStatus
    error: str | None = Field(description="Why it failed, or the last try did.")
    tries: list[TryView] = Field(description="The last 30, the newest last.", examples=[[_DELIVERY_TRY]])
    next_try_at: datetime | None
    created_at: datetime
    done_at: datetime | None

    @classmethod
    def of(cls, delivery: Delivery) -> Self:
        """Return the view of a delivery."""
        waits = delivery.status is DeliveryStatus.PENDING
        return cls(
            id=delivery.id,
            message_id=delivery.message_id,
            type=delivery.type,
            status=delivery.status,
            error=delivery.error,
            tries=[
                TryView(at=datetime.fromtimestamp(each["at"], UTC), **{k: each[k] for k in ("status", "error", "ms")})
                for each in delivery.tries
            ],
            next_try_at=_time(delivery.next_at) if waits else None,
            created_at=datetime.fromtimestamp(delivery.created_at, UTC),
            done_at=_time(delivery.done_at),
        )


class WebhookPage(BaseModel):
    """A page of webhooks."""

    data: list[WebhookView]
    first_id: str | None
    last_id: str | None
    has_more: bool


class DeliveryPage(BaseModel):
    """A page of deliveries."""

    data: list[DeliveryView]
    first_id: int | None
    last_id: int | None
    has_more: bool


class ReplayedView(BaseModel):
    """How many messages are sent again."""

    replayed: int


def _time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
