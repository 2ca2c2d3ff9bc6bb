"""AnonymousLimiter are counted by network, in a table of bounded size; bodies in memory are bounded too."""

import pytest

from scheduler.access.admission import AnonymousLimiter, Budget, network_of
from scheduler.access.limits import RateLimiter
from scheduler.domain.errors import RateLimitedError


def test_a_client_is_an_ipv4_address_or_an_ipv6_network() -> None:
    assert network_of("192.0.2.7") == "192.0.2.7"
    assert network_of("::ffff:192.0.2.7") == "192.0.2.7"
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:2") != network_of("2001:db8:0:1::1")
    assert network_of("fe80::1%eth0") == network_of("fe80::2")
    assert network_of("testclient") == "testclient"
    assert len(network_of("x" * 10_000)) < 100


def test_the_table_of_addresses_is_bounded() -> None:
    strangers = AnonymousLimiter(clock=lambda: 0.0)
    for number in range(RateLimiter.MAX_BUCKETS + 100):
        strangers.count(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert len(strangers._rates._buckets) == RateLimiter.MAX_BUCKETS


def test_bodies_in_hand_are_bounded_for_each_and_for_all() -> None:
    in_hand = Budget("large requests", most=100, most_of_one=60)
    in_hand.add("alice", 60)
    with pytest.raises(RateLimitedError):
        in_hand.add("alice", 1)
    in_hand.add("bob", 40)
    with pytest.raises(RateLimitedError):
        in_hand.add("carol", 1)
    in_hand.remove("alice", 60)
    in_hand.add("carol", 60)
