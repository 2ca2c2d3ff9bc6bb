# Generated from nst_core/client/_async/webhook_client.py by `make client`; changes belong there.
"""The part of the client that is about webhooks: `webhooks`."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from nst_core.client._sync.transport import Transport
from nst_core.client.requests import PAGE, body_of, path_of, query_of
from nst_core.client.resources.webhooks import (
    Delivery,
    DeliveryPage,
    DeliveryStatus,
    NewSecret,
    Replayed,
    Webhook,
    WebhookChanges,
    WebhookPage,
    WebhookRequest,
)


class WebhookClient:
    """Calls the API about webhooks."""

    def __init__(self, api: Transport) -> None:
        self._api = api

    def create(
        self, url: str, *, types: Sequence[str] = ("*",), description: str = "", enabled: bool = True
    ) -> NewSecret:
        """Create a webhook and return it with its secret, which is not shown again; tries once."""
        request = WebhookRequest(url=url, types=types, description=description, enabled=enabled)
        return self._api.read(NewSecret, "POST", path_of("webhooks"), json=body_of(request), once=True)

    def get(self, webhook_id: str) -> Webhook:
        """Return a webhook."""
        return self._api.read(Webhook, "GET", path_of("webhooks", webhook_id))

    def all(self, *, page: int = PAGE) -> Iterator[Webhook]:
        """Yield all webhooks, the newest first."""
        return self._api.pages(WebhookPage, path_of("webhooks"), query_of(limit=page))

    def update(
        self,
        webhook_id: str,
        *,
        url: str | None = None,
        types: Sequence[str] | None = None,
        description: str | None = None,
        enabled: bool | None = None,
    ) -> Webhook:
        """Change the given fields and return the webhook."""
        values = {"url": url, "types": types, "description": description, "enabled": enabled}
        changes = WebhookChanges(**{name: value for name, value in values.items() if value is not None})
        return self._api.read(Webhook, "PATCH", path_of("webhooks", webhook_id), json=body_of(changes))

    def delete(self, webhook_id: str) -> None:
        """Remove a webhook and its deliveries."""
        self._api.call("DELETE", path_of("webhooks", webhook_id))

    def rotate(self, webhook_id: str) -> NewSecret:
        """Replace the secret of a webhook and return it; for a day, messages are signed with both. Tries once."""
        return self._api.read(NewSecret, "POST", path_of("webhooks", webhook_id, "rotate"), once=True)

    def test(self, webhook_id: str) -> Delivery:
        """Send a message of the type webhook.test."""
        return self._api.read(Delivery, "POST", path_of("webhooks", webhook_id, "test"))

    def deliveries(
        self, webhook_id: str, *, status: DeliveryStatus | None = None, page: int = PAGE
    ) -> Iterator[Delivery]:
        """Yield deliveries, newest first: all, or those with a status."""
        path = path_of("webhooks", webhook_id, "deliveries")
        return self._api.pages(DeliveryPage, path, query_of(limit=page, status=status))

    def delivery(self, webhook_id: str, delivery_id: int) -> Delivery:
        """Return one delivery."""
        return self._api.read(Delivery, "GET", path_of("webhooks", webhook_id, "deliveries", str(delivery_id)))

    def replay(self, webhook_id: str, delivery_id: int) -> Delivery:
        """Send a message again with the same id, even if it was delivered."""
        return self._api.read(
            Delivery, "POST", path_of("webhooks", webhook_id, "deliveries", str(delivery_id), "replay")
        )

    def replay_failed(self, webhook_id: str, *, since: datetime | None = None) -> int:
        """Send all failed messages again, or those created since a time; return how many."""
        answer = self._api.read(
            Replayed, "POST", path_of("webhooks", webhook_id, "replay"), params=query_of(since=since)
        )
        return answer.replayed
