"""Limits of the API besides the rates of tenants: requests without a valid key, and what requests in progress hold."""

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


#: The most files that a tenant may be sending at once.
MOST_FILES_OF_ONE = 32


class Budget:
    """What the requests hold that this process has not answered yet, such as bytes of their bodies."""

    def __init__(self, what: str, *, most: int, most_of_one: int) -> None:
        """`what` is for the message; `most` is the limit of all tenants together, `most_of_one` that of each."""
        self._what = what
        self._most = most
        self._most_of_one = most_of_one
        self._of: Counter[str] = Counter()
        self._total = 0

    def add(self, tenant: str, count: int) -> None:
        """Count more; raise RateLimitedError if there are too many. Call it in the event loop."""
        if self._of[tenant] + count > self._most_of_one or self._total + count > self._most:
            message = f"Too many {self._what} are being read at the moment; try again a little later."
            raise RateLimitedError(message, retry_after_s=1.0)
        self._of[tenant] += count
        self._total += count

    def remove(self, tenant: str, count: int) -> None:
        """Count what was freed."""
        self._total -= count
        self._of[tenant] -= count
        if self._of[tenant] <= 0:
            del self._of[tenant]
