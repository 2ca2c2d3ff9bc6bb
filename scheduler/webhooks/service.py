"""The operations of webhooks, independent of HTTP."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from nst_core.client.resources.webhooks import DeliveryStatus
from nst_core.client.signing import new_secret
from nst_core.clock import Clock
from scheduler.domain.errors import ConflictError, NotFoundError, RequestInvalidError, WebhooksDisabledError
from scheduler.store import tenants as tenant_rows
from scheduler.store import webhooks as rows
from scheduler.store.database import Connection, Database
from scheduler.store.webhooks import Delivery, Webhook, WebhookChanges
from scheduler.webhooks.address import AddressError, Rules
from scheduler.webhooks.deliver import TEST_TYPE, message_body, new_messages
from scheduler.webhooks.vault import Vault

#: The most webhooks of a tenant.
MAX_WEBHOOKS = 20
#: After a rotation, messages are also signed with the old secret for this time.
OVERLAP_S = 86400.0
#: The most deliveries that one transaction changes; the API cuts off statements that take long.
_AT_ONCE = 10_000


class WebhookService:
    """The operations of webhooks. Each of them sees only the webhooks of the tenant that asks.

    All raise WebhooksDisabledError if the installation has no key for secrets, and NotFoundError if the tenant has no
    such webhook.
    """

    def __init__(self, database: Database, *, vault: Vault | None, rules: Rules, clock: Clock) -> None:
        """Without a vault, webhooks are disabled."""
        self._database = database
        self._vault = vault
        self._rules = rules
        self._clock = clock

    def create(
        self, tenant: str, *, url: str, types: Sequence[str], description: str, enabled: bool
    ) -> tuple[Webhook, str]:
        """Add a webhook and return it with its secret, which is not shown again.

        Raises RequestInvalidError if the address is not allowed, and ConflictError if the tenant has too many webhooks.
        """
        vault = self._open_vault()
        self._check(url)
        secret, now = new_secret(), self._clock()
        webhook = Webhook(
            id=f"whk_{int(now * 1000):012x}{secrets.token_hex(6)}",
            tenant=tenant,
            url=url,
            types=list(dict.fromkeys(types)),
            description=description,
            enabled=enabled,
            disabled_reason=None,
            secret=vault.seal(secret),
            old_secret=None,
            old_secret_until=None,
            failing_since=None,
            created_at=now,
        )
        with self._database.write() as connection:
            tenant_rows.lock_tenant(connection, tenant)  # so that others count it
            if rows.count_webhooks(connection, tenant) >= MAX_WEBHOOKS:
                raise ConflictError(f"There are {MAX_WEBHOOKS} webhooks already; delete one first.")
            rows.insert_webhook(connection, webhook)
        return webhook, secret

    def get(self, tenant: str, webhook_id: str) -> Webhook:
        """Return a webhook."""
        self._open_vault()
        with self._database.read() as connection:
            found = rows.find_webhook(connection, tenant, webhook_id)
        return _found(found, webhook_id)

    def all(self, tenant: str, *, limit: int, after_id: str | None = None) -> list[Webhook]:
        """Return a tenant's webhooks, newest first."""
        self._open_vault()
        with self._database.read() as connection:
            return rows.list_webhooks(connection, tenant, limit=limit, after_id=after_id)

    def update(self, tenant: str, webhook_id: str, given: Mapping[str, Any]) -> Webhook:
        """Change url, types, description or enabled, and return the webhook.

        A disabled webhook gets no messages, and its waiting messages fail; they can be replayed later. A webhook that
        is enabled starts without a history of failures.
        """
        self._open_vault()
        changes = cast(WebhookChanges, dict(given))
        if "url" in changes:
            self._check(changes["url"])
        if "types" in changes:
            changes["types"] = list(dict.fromkeys(changes["types"]))
        if "enabled" in changes:
            changes |= WebhookChanges(disabled_reason=None, failing_since=None)
        more = False
        with self._database.write() as connection:
            webhook = self._lock(connection, tenant, webhook_id)
            if changes:
                rows.update_webhook(connection, webhook_id, **changes)
            if webhook.enabled and changes.get("enabled") is False:
                more = self._fail_pending(connection, webhook_id)
        while more:
            with self._database.write() as connection:
                # Another client may have enabled it in the meantime.
                more = not self._lock(connection, tenant, webhook_id).enabled and self._fail_pending(
                    connection, webhook_id
                )
        return replace(webhook, **changes)

    def delete(self, tenant: str, webhook_id: str) -> None:
        """Remove a webhook and its deliveries. Of many deliveries, each transaction removes some."""
        self._open_vault()
        more = True
        while more:
            with self._database.write() as connection:
                self._lock(connection, tenant, webhook_id)
                rows.update_webhook(connection, webhook_id, enabled=False)  # so that no more are added
                more = rows.empty_webhook(connection, webhook_id, limit=_AT_ONCE) == _AT_ONCE
                if not more:
                    rows.delete_webhook(connection, webhook_id)

    def rotate(self, tenant: str, webhook_id: str) -> tuple[Webhook, str]:
        """Give a webhook a new secret and return both. The old secret signs messages too, for a day."""
        vault = self._open_vault()
        secret = new_secret()
        with self._database.write() as connection:
            webhook = self._lock(connection, tenant, webhook_id)
            changes: WebhookChanges = {
                "secret": vault.seal(secret),
                "old_secret": webhook.secret,
                "old_secret_until": self._clock() + OVERLAP_S,
            }
            rows.update_webhook(connection, webhook_id, **changes)
        return replace(webhook, **changes), secret

    def test(self, tenant: str, webhook_id: str) -> Delivery:
        """Send a message of the type webhook.test, with one try; raise ConflictError if the webhook is disabled."""
        self._open_vault()
        now = self._clock()
        with self._database.write() as connection:
            webhook = _enabled(self._lock(connection, tenant, webhook_id))
            body = message_body(TEST_TYPE, now, {"id": webhook_id})
            [message] = new_messages([webhook], TEST_TYPE, body)
            rows.insert_deliveries(connection, [message], now=now)
            made = rows.find_message(connection, webhook_id, message["message_id"])
        assert made is not None
        return made

    def deliveries(
        self,
        tenant: str,
        webhook_id: str,
        *,
        limit: int,
        after_id: int | None = None,
        status: DeliveryStatus | None = None,
    ) -> list[Delivery]:
        """Return the deliveries to a webhook, newest first."""
        self.get(tenant, webhook_id)
        with self._database.read() as connection:
            return rows.list_deliveries(connection, webhook_id, limit=limit, after_id=after_id, status=status)

    def delivery(self, tenant: str, webhook_id: str, delivery_id: int) -> Delivery:
        """Return one delivery."""
        self.get(tenant, webhook_id)
        with self._database.read() as connection:
            found = rows.find_delivery(connection, webhook_id, delivery_id)
        return _found_delivery(found, webhook_id, delivery_id)

    def replay(self, tenant: str, webhook_id: str, delivery_id: int) -> Delivery:
        """Send a message again with the same id, even if it was delivered. A waiting message is not changed.

        Raises ConflictError if the webhook is disabled.
        """
        self._open_vault()
        with self._database.write() as connection:
            _enabled(self._lock(connection, tenant, webhook_id))
            rows.replay(connection, webhook_id, delivery_id, now=self._clock())
            found = rows.find_delivery(connection, webhook_id, delivery_id)
        return _found_delivery(found, webhook_id, delivery_id)

    def replay_failed(self, tenant: str, webhook_id: str, *, since: float) -> int:
        """Send failed messages again that were created at or after a time; return how many.

        Raises ConflictError if the webhook is disabled.
        """
        self._open_vault()
        total, last, count = 0, 0, _AT_ONCE
        while count == _AT_ONCE:
            with self._database.write() as connection:
                _enabled(self._lock(connection, tenant, webhook_id))
                last, count = rows.replay_failed(
                    connection, webhook_id, since=since, after_id=last, now=self._clock(), limit=_AT_ONCE
                )
            total += count
        return total

    def _fail_pending(self, connection: Connection, webhook_id: str) -> bool:
        """End messages that wait; return whether there are more."""
        reason = "The webhook was disabled."
        return rows.fail_pending(connection, webhook_id, reason, now=self._clock(), limit=_AT_ONCE) == _AT_ONCE

    def _open_vault(self) -> Vault:
        if self._vault is None:
            raise WebhooksDisabledError("Webhooks need a key for their secrets: set NST_WEBHOOK_SECRET_KEY.")
        return self._vault

    def _check(self, url: str) -> None:
        try:
            self._rules.parse(url)
        except AddressError as error:
            raise RequestInvalidError(error.message, pointer="/url") from error

    def _lock(self, connection: Connection, tenant: str, webhook_id: str) -> Webhook:
        return _found(rows.lock_webhook(connection, webhook_id, tenant=tenant), webhook_id)


def _found(webhook: Webhook | None, webhook_id: str) -> Webhook:
    if webhook is None:
        raise NotFoundError(f"There is no webhook {webhook_id}.")
    return webhook


def _found_delivery(delivery: Delivery | None, webhook_id: str, delivery_id: int) -> Delivery:
    if delivery is None:
        raise NotFoundError(f"The webhook {webhook_id} has no delivery {delivery_id}.")
    return delivery


def _enabled(webhook: Webhook) -> Webhook:
    if not webhook.enabled:
        raise ConflictError(f"The webhook {webhook.id} is disabled.")
    return webhook
