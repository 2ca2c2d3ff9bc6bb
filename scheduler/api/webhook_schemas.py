"""Bodies of requests and responses about webhooks. Unknown fields are refused."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, Field, StringConstraints, model_validator

from scheduler.api.bodies import Body
from scheduler.api.pages import Page
from scheduler.api.times import moment, moment_if
from scheduler.domain.events import EventType
from scheduler.store.webhooks import Delivery, DeliveryStatus, Webhook

Url = Annotated[str, StringConstraints(min_length=1, max_length=2048)]
Description = Annotated[str, StringConstraints(max_length=500)]
_KNOWN = ("*", *EventType)


def _known(types: Sequence[str]) -> Sequence[str]:
    for type_ in types:
        if type_ not in _KNOWN:
            raise ValueError(f"{type_!r} is no type of event; there are {', '.join(_KNOWN)}")
    return types


Types = Annotated[tuple[Annotated[str, StringConstraints(max_length=32)], ...], Field(min_length=1, max_length=50)]
KnownTypes = Annotated[Types, AfterValidator(_known)]


class WebhookBody(Body):
    """Where to tell of which events."""

    url: Url = Field(description="https, a public host, and port 443 or one from 1024 on.")
    types: KnownTypes = Field(("*",), description="Types of events; * stands for all.")
    description: Description = ""
    enabled: bool = True


class WebhookChanges(Body):
    """What is to be changed of a webhook; what is not given stays."""

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
            failing_since=moment_if(webhook.failing_since),
            old_secret_until=moment_if(webhook.old_secret_until),
            created_at=moment(webhook.created_at),
            **more,
        )


class NewSecretView(WebhookView):
    """A webhook with its new secret."""

    secret: str = Field(description="Signs the messages; it is not shown again.")


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
    tries: list[TryView] = Field(description="The last 30, the newest last.")
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
                TryView(at=moment(each["at"]), **{k: each[k] for k in ("status", "error", "ms")})
                for each in delivery.tries
            ],
            next_try_at=moment_if(delivery.next_at) if waits else None,
            created_at=moment(delivery.created_at),
            done_at=moment_if(delivery.done_at),
        )


class WebhookPage(Page[WebhookView, str]):
    """A page of webhooks."""


class DeliveryPage(Page[DeliveryView, int]):
    """A page of deliveries."""


class ReplayedView(BaseModel):
    """How many messages are sent again."""

    replayed: int
