"""The part of the client that is about webhooks: `Client.webhooks`, and its values."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from scheduler.transport import Transport, quoted

_PAGE = 200


@dataclass(frozen=True, kw_only=True)
class Webhook:
    """Where the API tells of events. Times are RFC 3339."""

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


@dataclass(frozen=True, kw_only=True)
class _Replayed:
    replayed: int


class WebhookClient:
    """Calls the API about webhooks. Safe to share between threads."""

    def __init__(self, api: Transport) -> None:
        self._api = api

    def create(
        self, url: str, *, types: Sequence[str] = ("*",), description: str = "", enabled: bool = True
    ) -> NewSecret:
        """Add a webhook and return it with its secret, which is not shown again; one try."""
        body = {"url": url, "types": list(types), "description": description, "enabled": enabled}
        return self._api.read(NewSecret, "POST", "/v1/webhooks", json=body, once=True)

    def get(self, webhook_id: str) -> Webhook:
        """Return a webhook."""
        return self._api.read(Webhook, "GET", _path(webhook_id))

    def all(self, *, page: int = _PAGE) -> Iterator[Webhook]:
        """Yield all webhooks, the newest first."""
        return self._api.pages(Webhook, "/v1/webhooks", {"limit": page})

    def update(
        self,
        webhook_id: str,
        *,
        url: str | None = None,
        types: Sequence[str] | None = None,
        description: str | None = None,
        enabled: bool | None = None,
    ) -> Webhook:
        """Change what is given, and return the webhook."""
        given: dict[str, Any] = {"url": url, "types": types and list(types), "description": description}
        body = {name: value for name, value in {**given, "enabled": enabled}.items() if value is not None}
        return self._api.read(Webhook, "PATCH", _path(webhook_id), json=body)

    def delete(self, webhook_id: str) -> None:
        """Remove a webhook and its deliveries."""
        self._api.call("DELETE", _path(webhook_id))

    def rotate(self, webhook_id: str) -> NewSecret:
        """Give a webhook another secret and return it; the old one signs as well for a day. One try."""
        return self._api.read(NewSecret, "POST", _path(webhook_id, "rotate"), once=True)

    def test(self, webhook_id: str) -> Delivery:
        """Send a message of the type webhook.test."""
        return self._api.read(Delivery, "POST", _path(webhook_id, "test"))

    def deliveries(self, webhook_id: str, *, status: str | None = None, page: int = _PAGE) -> Iterator[Delivery]:
        """Yield what was and is to be sent, the newest first: all, or what is pending, delivered or failed."""
        query: dict[str, str | int] = {"limit": page} if status is None else {"limit": page, "status": status}
        return self._api.pages(Delivery, _path(webhook_id, "deliveries"), query)

    def delivery(self, webhook_id: str, delivery_id: int) -> Delivery:
        """Return one delivery."""
        return self._api.read(Delivery, "GET", _path(webhook_id, "deliveries", str(delivery_id)))

    def replay(self, webhook_id: str, delivery_id: int) -> Delivery:
        """Send a message again under its id, also one that was delivered."""
        return self._api.read(Delivery, "POST", _path(webhook_id, "deliveries", str(delivery_id), "replay"))

    def replay_failed(self, webhook_id: str, *, since: datetime | None = None) -> int:
        """Send all messages again that failed and were made since a time; return how many."""
        query = {} if since is None else {"since": since.isoformat()}
        return self._api.read(_Replayed, "POST", _path(webhook_id, "replay"), params=query).replayed


def _path(webhook_id: str, *parts: str) -> str:
    return "/".join(["/v1/webhooks", *map(quoted, (webhook_id, *parts))])
