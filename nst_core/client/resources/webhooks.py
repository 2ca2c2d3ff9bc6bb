"""Webhooks, and the deliveries of their messages."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, AwareDatetime, Field, StringConstraints, model_validator

from nst_core.client.resources.base import Request, Resource, shown
from nst_core.client.resources.events import EventType
from nst_core.client.resources.pages import Page

_KNOWN = ("*", *EventType)
_WEBHOOK: dict[str, Any] = {
    "id": "whk_019ab5e0c8a43f9a10c2b4d1",
    "url": "https://example.com/hooks/nst",
    "types": ["job.completed", "run.completed"],
    "description": "The gallery",
    "enabled": True,
    "disabled_reason": None,
    "failing_since": None,
    "old_secret_until": None,
    "created_at": "2026-11-22T12:00:00Z",
}


def _check_types(types: Sequence[str]) -> Sequence[str]:
    for type_ in types:
        if type_ not in _KNOWN:
            raise ValueError(f"{type_!r} is not a type of event; known are {', '.join(_KNOWN)}")
    return types


_Url = Annotated[str, StringConstraints(min_length=1, max_length=2048)]
_Description = Annotated[str, StringConstraints(max_length=500)]
_Types = Annotated[
    tuple[Annotated[str, StringConstraints(max_length=32)], ...],
    Field(min_length=1, max_length=50),
    AfterValidator(_check_types),
]


class DeliveryStatus(StrEnum):
    """The status of a delivery."""

    PENDING = "pending"  # waits for its next try, or is being tried
    DELIVERED = "delivered"  # the receiver answered with 2xx
    FAILED = "failed"  # is tried again only if a client says so


class WebhookRequest(Request):
    """A new webhook: an address, and the events that are sent to it."""

    model_config = shown(
        {
            "url": "https://example.com/hooks/nst",
            "types": ["job.completed", "run.completed"],
            "description": "The gallery",
        }
    )

    url: _Url = Field(description="https, a public host, and port 443 or one from 1024 on.")
    types: _Types = Field(("*",), description="Types of events; * stands for all.")
    description: _Description = Field("", description="A note for people.")
    enabled: bool = Field(True, description="Whether events are sent to it.")


class WebhookChanges(Request):
    """Changes to a webhook. Omitted fields keep their values."""

    model_config = shown({"enabled": True})

    url: _Url | None = Field(None, description="https, a public host, and port 443 or one from 1024 on.")
    types: _Types | None = Field(None, description="Types of events; * stands for all.")
    description: _Description | None = Field(None, description="A note for people.")
    enabled: bool | None = Field(
        None, description="False also fails the messages that wait to be sent; they may be replayed later."
    )

    @model_validator(mode="after")
    def _no_nulls(self) -> Self:
        if nulls := [name for name in self.model_fields_set if getattr(self, name) is None]:
            raise ValueError(f"{nulls[0]} cannot be null")
        return self


class Webhook(Resource):
    """A webhook."""

    model_config = shown(_WEBHOOK)

    id: str = Field(description="whk_ and 24 hex digits.")
    url: str = Field(description="Where the events are sent.")
    types: tuple[str, ...] = Field(description="Types of events; * stands for all.")
    description: str = Field("", description="A note for people.")
    enabled: bool = Field(True, description="Whether events are sent to it.")
    disabled_reason: Literal["gone", "failing"] | None = Field(
        None, description="gone: the receiver answered 410; failing: no try succeeded for five days."
    )
    failing_since: AwareDatetime | None = Field(
        None, description="When the first of the tries in a row that failed was; null after one that succeeds."
    )
    old_secret_until: AwareDatetime | None = Field(
        None, description="After a rotation, messages are also signed with the previous secret until this time."
    )
    created_at: AwareDatetime = Field(description="When it was created.")


class NewSecret(Webhook):
    """A webhook with its new secret."""

    model_config = shown(_WEBHOOK | {"secret": "whsec_…"})

    secret: str = Field(repr=False, description="Signs the messages. It is not shown again.")


class Try(Resource):
    """One try to send a message."""

    at: AwareDatetime = Field(description="When it began.")
    status: int | None = Field(None, description="The status of the HTTP answer; null if there was none.")
    error: str | None = Field(None, description="Why there was no answer.")
    ms: int = Field(0, description="How long it took, in milliseconds.")


class Delivery(Resource):
    """A message for a webhook, and what became of it."""

    model_config = shown(
        {
            "id": 41,
            "message_id": "msg_3f9a10c2b4d1019ab5e0c8a4",
            "type": "job.completed",
            "status": "pending",
            "error": "The receiver answered 500.",
            "tries": [{"at": "2026-11-22T12:00:00Z", "status": 500, "error": None, "ms": 45}],
            "next_try_at": "2026-11-22T12:00:05Z",
            "created_at": "2026-11-22T12:00:00Z",
            "done_at": None,
        }
    )

    id: int = Field(description="Its number, which orders deliveries by age.")
    message_id: str = Field(description="The header webhook-id, the same in all tries.")
    type: str = Field(description="The type of the event, such as job.completed.")
    status: DeliveryStatus = Field(description="What becomes of the delivery at the moment, or how it ended.")
    error: str | None = Field(None, description="Why the delivery or the last try failed.")
    tries: tuple[Try, ...] = Field((), description="The last 30, newest last.")
    next_try_at: AwareDatetime | None = Field(None, description="When it is tried next; null if it is not.")
    created_at: AwareDatetime = Field(description="When the event happened, or a test was asked for.")
    done_at: AwareDatetime | None = Field(
        None, description="When the receiver accepted the message, or it failed for good; null while it is pending."
    )


class WebhookPage(Page[Webhook, str]):
    """A page of webhooks."""


class DeliveryPage(Page[Delivery, int]):
    """A page of deliveries."""


class Replayed(Resource):
    """How many messages are sent again."""

    model_config = shown({"replayed": 3})

    replayed: int = Field(description="Their number.")
