"""When a call is tried again, and after which pause."""

import httpx

from nst_core.client.errors import UnreachableError

#: Statuses that a repeat of the same request may turn into success.
_PASSING = frozenset({502, 503, 504})
#: The longest pause that an answer is believed.
_MOST_TOLD_S = 30.0


class Retries:
    """What all calls to one API share: how often they are tried, and whether the API was ever there."""

    def __init__(self, url: str, *, most: int) -> None:
        """`most` is the number of tries after the first one."""
        self.url = url
        self.most = most
        self.reached = False

    def begin(self, *, once: bool = False) -> "Tries":
        """Return the tries of a call; it has a single one with `once`."""
        return Tries(self, 1 if once else self.most + 1)

    def no_answer(self, error: httpx.RequestError) -> UnreachableError:
        """Return the error for a connection that failed."""
        return UnreachableError(f"{self.url} does not respond: {error}")


class Tries:
    """The tries of one call: after each try, it returns the pause before the next one, or ends the tries."""

    def __init__(self, shared: Retries, number: int) -> None:
        self._shared = shared
        self._left = number
        self._pause_s = 0.25

    def pause_after_error(self, error: httpx.RequestError) -> float:
        """Return the pause in seconds after a failed connection; raise UnreachableError if it was the last try."""
        if isinstance(error, httpx.LocalProtocolError | httpx.UnsupportedProtocol):
            # Not the error's own words: they may have the key.
            raise UnreachableError(f"The request to {self._shared.url} cannot be sent.") from None
        nobody = isinstance(error, httpx.ConnectError)
        hopeless = nobody and not self._shared.reached
        # A connection that broke was one: the API dies, and is there again soon.
        self._shared.reached |= not nobody
        self._left -= 1
        if hopeless or not self._left:
            raise self._shared.no_answer(error) from error
        return self._next_pause_s()

    def pause_after_answer(self, response: httpx.Response) -> float | None:
        """Return the pause in seconds after a response whose body was read, or None if no retry is needed."""
        self._shared.reached = True
        self._left -= 1
        if not self._left or not _may_pass(response):
            return None
        return max(_retry_after_s(response), self._next_pause_s())

    def _next_pause_s(self) -> float:
        pause_s, self._pause_s = self._pause_s, min(2 * self._pause_s, 4.0)
        return pause_s


def _may_pass(response: httpx.Response) -> bool:
    """Return whether the same request may succeed later; for rate limits, the response says when."""
    if response.is_success:
        return False
    if response.status_code == 409:
        # The first try is still in progress, although its connection was lost.
        return b'"idempotency_in_flight"' in response.content
    if b'"webhooks_disabled"' in response.content:
        # What the API has no part for, it will not have then.
        return False
    return response.status_code in _PASSING or (response.status_code == 429 and b'"rate_limited"' in response.content)


def _retry_after_s(response: httpx.Response) -> float:
    text = response.headers.get("Retry-After", "")
    return min(float(text), _MOST_TOLD_S) if text.isdecimal() else 0.0
