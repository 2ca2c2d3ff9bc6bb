"""Delivery: makes messages of events, and sends them to receivers, with retries over three days.

A message is written once; every try sends the same bytes with the same webhook-id. If a scheduler dies after the
response but before it has recorded it, its claim expires and the message is sent again. So a message arrives at least
once, not exactly once.
"""

import json
import logging
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from nst_core import __version__
from nst_core.client import signing
from nst_core.client.resources.webhooks import DeliveryStatus
from nst_core.clock import Clock
from nst_core.errors import NstError
from scheduler.control.metrics import Metrics
from scheduler.control.setbacks import Setbacks
from scheduler.domain.events import payload
from scheduler.store import events as event_rows
from scheduler.store import webhooks as rows
from scheduler.store.database import Database
from scheduler.store.webhooks import Delivery, DeliveryChanges, Webhook, WebhookChanges
from scheduler.webhooks.send import TIMEOUT_S, Answer, Sender
from scheduler.webhooks.slots import Slots, host_of
from scheduler.webhooks.vault import Vault

log = logging.getLogger(__name__)

#: The pause before each try, as Standard Webhooks recommends.
DELAYS_S = (0.0, 5.0, 300.0, 1800.0, 7200.0, 18000.0, 36000.0, 50400.0, 72000.0, 86400.0)
_JITTER = 0.1
#: A longer Retry-After counts as this.
_MAX_RETRY_AFTER_S = 86400.0
#: A webhook is disabled if all tries have failed for this long.
FAILING_S = 5 * 86400.0
MAX_BODY_BYTES = 20_000
TEST_TYPE = "webhook.test"
SLOTS = Slots()
#: A host is slow if its last answer took longer, or did not come. This process remembers up to `_SLOW_HOSTS`.
_SLOW_MS, _SLOW_HOSTS = 5000, 10_000
#: Longer than a try can take.
_LEASE_S = TIMEOUT_S + 40.0
#: The most tries of a delivery that are kept.
_KEPT_TRIES = 30
_BATCH = 200
_PRUNE_EVERY_S = 600.0
_PRUNED = 1000
_GONE, _RETRY_LATER = 410, (429, 503)


@dataclass(frozen=True, kw_only=True)
class _Note:
    """What a try changes."""

    delivery: DeliveryChanges
    webhook: WebhookChanges
    #: Why the webhook was disabled, which also fails its other messages.
    disabled: str | None = None


class Deliverer:
    """Sends events to webhooks. Several schedulers may do so at the same time."""

    def __init__(
        self,
        database: Database,
        sender: Sender,
        *,
        vault: Vault | None,
        clock: Clock,
        random: Callable[[], float],
        retention_s: float,
        metrics: Metrics | None = None,
        timer: Clock = time.monotonic,
    ) -> None:
        """`random` returns numbers from 0 to 1; `timer` is a steady clock. Without a vault, messages wait."""
        self._metrics = metrics or Metrics()
        self._database = database
        self._sender = sender
        self._vault = vault
        self._clock = clock
        self._random = random
        self._retention_s = retention_s
        self._timer = timer
        self._prune_at = timer()
        self._free = threading.Condition()
        self._in_hand = 0
        self._setbacks = Setbacks[str]("sending to webhooks")
        self._slow_hosts: dict[str, bool] = {}

    def tick(self) -> bool:
        """Add messages for new events and begin the tries that are due; return whether there were any."""
        self._prune()
        # Read first: a write transaction would make other writers of SQLite wait.
        with self._database.read() as connection:
            news = event_rows.any_unfanned(connection)
        fanned_out = news and self._fan_out()
        with self._database.read() as connection:
            due = rows.any_due(connection, now=self._clock())
        return (due and self._begin_due()) or fanned_out

    def wait(self, *, timeout_s: float) -> bool:
        """Wait for the running tries, up to a time; return whether none is left."""
        with self._free:
            return self._free.wait_for(lambda: self._in_hand == 0, timeout_s)

    def _fan_out(self) -> bool:
        now = self._clock()
        with self._database.write() as connection:
            found = event_rows.take_unfanned(connection, limit=_BATCH)
            if not found:
                return False
            known = rows.enabled_webhooks(connection, sorted({event.tenant for event in found}))
            messages: list[dict[str, Any]] = []
            for event in found:
                # A webhook does not get events that are older than itself.
                wanting = [
                    webhook
                    for webhook in known
                    if webhook.tenant == event.tenant
                    and webhook.wants(event.type)
                    and webhook.created_at <= event.created_at
                ]
                if wanting:
                    body = message_body(event.type, event.created_at, event.data)
                    messages += new_messages(wanting, event.type, body)
            rows.insert_deliveries(connection, messages, now=now)
            event_rows.set_fanned_out(connection, [event.id for event in found])
        return True

    def _begin_due(self) -> bool:
        room = SLOTS.total - self._in_hand
        if self._vault is None or room <= 0:
            return False
        now = self._clock()
        with self._database.read() as connection:
            busy = rows.in_hand(connection, now=now)
            full = [each.id for each in busy if each.in_hand >= SLOTS.at_once(slow=self._is_slow(each))]
            due = rows.due_webhooks(connection, now=now, without=[*full, *self._setbacks.waiting()])
        chosen = SLOTS.choose(busy, due, is_slow=self._is_slow, room=room)
        counts = Counter(webhook.id for webhook in chosen)
        slow = {webhook.id: self._is_slow(webhook) for webhook in chosen}

        def begin(webhook_id: str) -> bool:
            return self._begin(webhook_id, room=counts[webhook_id], at_once=SLOTS.at_once(slow=slow[webhook_id]))

        return self._setbacks.attempt_each(counts, begin)

    def _begin(self, webhook_id: str, *, room: int, at_once: int) -> bool:
        assert self._vault is not None
        with self._database.write() as connection:
            claimed = rows.claim_due(
                connection, webhook_id, now=self._clock(), lease_s=_LEASE_S, room=room, at_once=at_once
            )
        if claimed is None:
            return False
        webhook, found = claimed
        for delivery in found:
            # Daemons, so that a process can end without waiting for a slow receiver. The try is repeated later.
            name = f"webhook-{delivery.id}"
            thread = threading.Thread(
                target=self._deliver, args=(self._vault, webhook, delivery), name=name, daemon=True
            )
            with self._free:
                self._in_hand += 1
            try:
                thread.start()
            except RuntimeError:
                # No more threads can start. The claim expires, and the message is sent later.
                self._release()
                raise
        return bool(found)

    def _release(self) -> None:
        with self._free:
            self._in_hand -= 1
            self._free.notify_all()

    def _is_slow(self, webhook: rows.Waiting) -> bool:
        return webhook.failing or host_of(webhook.url) in self._slow_hosts

    def _note_speed(self, webhook: Webhook, answer: Answer) -> None:
        host = host_of(webhook.url)
        if answer.ms < _SLOW_MS and answer.status is not None:
            self._slow_hosts.pop(host, None)
        else:
            self._slow_hosts[host] = True
            while len(self._slow_hosts) > _SLOW_HOSTS:
                self._slow_hosts.pop(next(iter(self._slow_hosts)), None)

    def _deliver(self, vault: Vault, webhook: Webhook, delivery: Delivery) -> None:
        try:
            at = self._clock()
            answer = self._try(vault, webhook, delivery, at)
            self._metrics.tried(succeeded=answer.succeeded)
            self._note_speed(webhook, answer)
            self._note(delivery, answer, at)
        except NstError as error:
            log.warning("Delivery %d is not noted, and will be made again: %s", delivery.id, error.message)
        except Exception:
            log.exception("Delivery %d failed", delivery.id)
        finally:
            self._release()

    def _try(self, vault: Vault, webhook: Webhook, delivery: Delivery, at: float) -> Answer:
        sealed = [webhook.secret]
        if webhook.old_secret is not None and (webhook.old_secret_until or 0.0) > at:
            sealed.append(webhook.old_secret)
        try:
            keys = [vault.open(each) for each in sealed]
        except NstError as error:
            return Answer(status=None, error=error.message)
        headers = {
            "User-Agent": f"nst/{__version__}",
            signing.ID_HEADER: delivery.message_id,
            signing.TIMESTAMP_HEADER: str(int(at)),
            signing.SIGNATURE_HEADER: signing.sign(keys, id=delivery.message_id, timestamp=int(at), body=delivery.body),
        }
        return self._sender.send(webhook.url, headers, delivery.body)

    def _note(self, tried: Delivery, answer: Answer, at: float) -> None:
        with self._database.write() as connection:
            webhook = rows.lock_webhook(connection, tried.webhook_id)
            delivery = rows.find_delivery(connection, tried.webhook_id, tried.id, lock=True)
            if webhook is None or delivery is None or delivery.claims != tried.claims:
                return  # it was deleted or claimed again in the meantime
            if delivery.status is not DeliveryStatus.PENDING and not answer.succeeded:
                return  # it has failed in the meantime, because its webhook was disabled
            note = after_try(webhook, delivery, answer, now=self._clock(), random=self._random())
            tries = [*delivery.tries, {"at": at, "status": answer.status, "error": answer.error, "ms": answer.ms}]
            changes: DeliveryChanges = {"tries": tries[-_KEPT_TRIES:]}
            rows.update_delivery(connection, delivery.id, **(note.delivery | changes))
            if note.webhook:
                rows.update_webhook(connection, webhook.id, **note.webhook)
            if note.disabled is not None:
                log.warning("The webhook %s was disabled: %s", webhook.id, note.disabled)
                rows.fail_pending(connection, webhook.id, note.disabled, now=self._clock())

    def _prune(self) -> None:
        """Delete some old events and deliveries."""
        if self._timer() < self._prune_at:
            return
        before = self._clock() - self._retention_s
        # Read before the write transaction, because others wait for that.
        with self._database.read() as connection:
            events = event_rows.old_events(connection, created_before=before, limit=_PRUNED)
            deliveries = rows.old_deliveries(connection, done_before=before, limit=_PRUNED)
        if events or deliveries:
            with self._database.write() as connection:
                event_rows.delete_events(connection, events)
                rows.delete_deliveries(connection, deliveries)
        if max(len(events), len(deliveries)) < _PRUNED:
            self._prune_at = self._timer() + _PRUNE_EVERY_S


def after_try(webhook: Webhook, delivery: Delivery, answer: Answer, *, now: float, random: float) -> _Note:
    """Return the changes of a delivery and its webhook after a try; `random` is from 0 to 1."""
    if answer.succeeded:
        done: DeliveryChanges = {"lease_until": 0.0, "status": DeliveryStatus.DELIVERED, "error": None, "done_at": now}
        return _Note(delivery=done, webhook={"failing_since": None} if webhook.failing_since else {})
    failures = delivery.failures + 1
    tried: DeliveryChanges = {
        "lease_until": 0.0,
        "error": answer.error or f"The receiver answered {answer.status}.",
        "failures": failures,
    }
    failed: DeliveryChanges = {**tried, "status": DeliveryStatus.FAILED, "done_at": now}
    if answer.status == _GONE:
        gone: WebhookChanges = {"enabled": False, "disabled_reason": "gone"}
        return _Note(delivery=failed, webhook=gone, disabled="The receiver answered 410: it is gone.")
    if delivery.type == TEST_TYPE:
        return _Note(delivery=failed, webhook={})  # the client sees the result of its test at once
    since = now if webhook.failing_since is None else webhook.failing_since
    if failures < len(DELAYS_S):
        pause_s = DELAYS_S[failures] * (1 + _JITTER * (2 * random - 1))
        if answer.status in _RETRY_LATER and answer.retry_after_s is not None:
            pause_s = max(pause_s, min(answer.retry_after_s, _MAX_RETRY_AFTER_S))
        return _Note(delivery={**tried, "next_at": now + pause_s}, webhook={"failing_since": since})
    # Only the last try of a message disables the webhook: a single failed try says little about a receiver that got no
    # messages for days.
    if now - since < FAILING_S:
        return _Note(delivery=failed, webhook={"failing_since": since})
    failing: WebhookChanges = {"enabled": False, "disabled_reason": "failing", "failing_since": since}
    return _Note(delivery=failed, webhook=failing, disabled="All tries failed for five days.")


def message_body(type: str, created_at: float, data: dict[str, Any]) -> bytes:
    """Return the body of a message, at most 20,000 bytes: larger data are reduced to their id and status."""
    body = json.dumps(payload(type, created_at, data), separators=(",", ":")).encode()
    if len(body) <= MAX_BODY_BYTES:
        return body
    short = {name: data[name] for name in ("id", "status") if name in data} | {"truncated": True}
    return json.dumps(payload(type, created_at, short), separators=(",", ":")).encode()


def new_messages(webhooks: Sequence[Webhook], type: str, body: bytes) -> list[dict[str, Any]]:
    """Return a message for each webhook, as `insert_deliveries` takes them. All have the same id."""
    message_id = f"msg_{secrets.token_hex(12)}"
    return [{"webhook_id": each.id, "message_id": message_id, "type": type, "body": body} for each in webhooks]
