"""Which webhooks get a message next: tenants share the slots, and hosts that fail or are slow get fewer."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from scheduler.store.webhooks import Waiting


@dataclass(frozen=True, kw_only=True)
class Slots:
    """How many messages are sent at the same time: in total, of one tenant, and to one webhook.

    The smaller numbers are for hosts that fail or are slow. So a tenant with only such hosts leaves room for other
    tenants, and all such hosts together leave room for hosts that answer.
    """

    total: int = 32
    total_slow: int = 16
    tenant: int = 8
    tenant_slow: int = 4
    webhook: int = 2
    webhook_slow: int = 1

    def at_once(self, *, slow: bool) -> int:
        """Return how many messages are sent to one webhook at the same time."""
        return self.webhook_slow if slow else self.webhook

    def choose(
        self, busy: Iterable[Waiting], due: Iterable[Waiting], *, is_slow: Callable[[Waiting], bool], room: int
    ) -> list[Waiting]:
        """Return up to `room` webhooks that get a message each, in order; a webhook may appear several times.

        `busy` are the webhooks that messages are being sent to. The tenant with the fewest of these messages is next,
        and of its webhooks the one whose message has waited longest.
        """
        by_tenant, slow_by_tenant, by_webhook = Counter[str](), Counter[str](), Counter[str]()
        total = slow_total = 0
        for each in busy:
            by_tenant[each.tenant] += each.in_hand
            by_webhook[each.id] += each.in_hand
            total += each.in_hand
            if is_slow(each):
                slow_by_tenant[each.tenant] += each.in_hand
                slow_total += each.in_hand
        waiting, chosen = {each.id: (each, is_slow(each)) for each in due}, list[Waiting]()
        while waiting and len(chosen) < min(room, self.total):
            webhook, slow = min(
                waiting.values(), key=lambda pair: (by_tenant[pair[0].tenant], pair[0].since, pair[0].id)
            )
            has_room = by_tenant[webhook.tenant] < self.tenant and by_webhook[webhook.id] < self.at_once(slow=slow)
            if slow:
                has_room &= slow_by_tenant[webhook.tenant] < self.tenant_slow and slow_total < self.total_slow
            if not has_room:
                del waiting[webhook.id]
                continue
            chosen.append(webhook)
            by_tenant[webhook.tenant] += 1
            by_webhook[webhook.id] += 1
            slow_by_tenant[webhook.tenant] += slow
            slow_total += slow
        return chosen


def host_of(url: str) -> str:
    """Return the host of a webhook's address, by which slow receivers are known."""
    return urlsplit(url).netloc.lower()
