"""Tests of scheduler.webhooks.slots."""

from collections import Counter

from scheduler.store.webhooks import Waiting
from scheduler.webhooks.slots import Slots, host_of

SLOTS = Slots(total=8, total_slow=4, tenant=4, tenant_slow=2, webhook=2, webhook_slow=1)


def due(tenant: str, count: int, *, failing: bool = False, since: float = 1.0) -> list[Waiting]:
    return [
        Waiting(id=f"{tenant}{number}", tenant=tenant, url="https://x/", failing=failing, since=since)
        for number in range(count)
    ]


def chosen(busy: list[Waiting], *waiting: list[Waiting], room: int = 8) -> Counter[str]:
    found = SLOTS.choose(
        busy, [each for some in waiting for each in some], is_slow=lambda webhook: webhook.failing, room=room
    )
    return Counter(webhook.tenant for webhook in found)


def test_tenants_share_the_slots_and_none_has_more_than_its_part() -> None:
    assert chosen([], due("a", 1000), due("b", 1, since=9.0)) == {"a": 4, "b": 2}
    assert chosen([], due("a", 1000), due("b", 1000), due("c", 1000)) == {"a": 3, "b": 3, "c": 2}


def test_tenant_with_fewer_messages_in_hand_is_next() -> None:
    busy = [Waiting(id="a0", tenant="a", url="https://x/", failing=False, in_hand=2)]
    assert chosen(busy, due("a", 9), due("b", 9, since=5.0), room=2) == {"b": 2}


def test_failing_hosts_have_fewer_slots_each_and_all_together() -> None:
    assert chosen([], due("a", 9, failing=True)) == {"a": 2}
    assert chosen([], *(due(tenant, 9, failing=True) for tenant in "abcd")) == dict.fromkeys("abcd", 1)
    many = [due(tenant, 9, failing=True) for tenant in "abcdefgh"]
    assert chosen([], *many, due("z", 1, since=99.0))["z"] == 2


def test_messages_of_one_webhook_are_sent_two_at_a_time() -> None:
    busy = [Waiting(id="a0", tenant="a", url="https://x/", failing=False, in_hand=1)]
    assert chosen(busy, due("a", 1)) == {"a": 1}


def test_host_is_that_of_the_address() -> None:
    assert host_of("https://Hooks.example.com:8443/a?b") == "hooks.example.com:8443"
