"""Limits of the API besides the rates of tenants: requests without a valid key, and bytes of request bodies."""

from collections import Counter
from ipaddress import IPv4Address, IPv6Network, ip_address

from nst_core.clock import Clock
from scheduler.access.limits import RateLimiter
from scheduler.domain.errors import RateLimitedError


class AnonymousLimiter:
    """Requests without a valid key, by the address that they come from. Safe to share between threads."""

    #: A burst of 30 requests, then one every two seconds.
    BURST = 30
    PER_S = 0.5

    def __init__(self, *, clock: Clock) -> None:
        self._rates = RateLimiter(clock=clock)

    def count(self, address: str) -> None:
        """Count a request; raise RateLimitedError if there were too many from its address."""
        try:
            self._rates.take(network_of(address), per_s=self.PER_S, burst=self.BURST)
        except RateLimitedError as error:
            message = "There were too many requests without a valid API key from this address."
            raise RateLimitedError(message, retry_after_s=error.retry_after_s) from error


def network_of(address: str) -> str:
    """Return what identifies a client: an IPv4 address, the /64 of an IPv6 address, or else the text itself."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if isinstance(parsed, IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(IPv6Network((parsed, 64), strict=False))


class BodyBudget:
    """Bytes of request bodies in this process whose requests are not answered yet."""

    def __init__(self, *, most: int, most_of_one: int) -> None:
        """`most` is the limit of all tenants together, `most_of_one` that of each."""
        self._most = most
        self._most_of_one = most_of_one
        self._of: Counter[str] = Counter()
        self._total = 0

    def add(self, tenant: str, nbytes: int) -> None:
        """Count received bytes; raise RateLimitedError if there are too many. Call it in the event loop."""
        if self._of[tenant] + nbytes > self._most_of_one or self._total + nbytes > self._most:
            message = "Too many large requests are being read at the moment; try again a little later."
            raise RateLimitedError(message, retry_after_s=1.0)
        self._of[tenant] += nbytes
        self._total += nbytes

    def remove(self, tenant: str, nbytes: int) -> None:
        """Count bytes that were freed."""
        self._total -= nbytes
        self._of[tenant] -= nbytes
        if self._of[tenant] <= 0:
            del self._of[tenant]
