"""When a call is tried again, and after which pause."""

import httpx

from nst_core.client.answers import refusal
from nst_core.client.errors import UnreachableError

#: Errors of requests that cannot be sent, wherever the API is.
_UNSENDABLE = (httpx.LocalProtocolError, httpx.UnsupportedProtocol)


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
        """Return the error for a connection that failed. One that broke shows that the API was there."""
        if isinstance(error, _UNSENDABLE):
            # Not the error's own words: they may have the key.
            return UnreachableError(f"The request to {self.url} cannot be sent.")
        self.reached |= not isinstance(error, httpx.ConnectError)
        return UnreachableError(f"{self.url} does not respond: {error}")


class Tries:
    """The tries of one call: after each try, it returns the pause before the next one, or ends the tries."""

    def __init__(self, shared: Retries, number: int) -> None:
        self._shared = shared
        self._left = number
        self._pause_s = 0.25

    def pause_after_error(self, error: httpx.RequestError) -> float:
        """Return the pause in seconds after a failed connection; raise UnreachableError if it was the last try."""
        no_answer = self._shared.no_answer(error)
        self._left -= 1
        if isinstance(error, _UNSENDABLE):
            raise no_answer from None
        # If the API was there, it is restarted, and there again soon.
        if not self._shared.reached or not self._left:
            raise no_answer from error
        return self._next_pause_s()

    def pause_after_answer(self, response: httpx.Response) -> float | None:
        """Return the pause in seconds after a response whose body was read, or None if no retry is needed."""
        self._shared.reached = True
        self._left -= 1
        if response.is_success or not self._left:
            return None
        error = refusal(response)
        return max(error.retry_after_s, self._next_pause_s()) if error.retryable else None

    def _next_pause_s(self) -> float:
        pause_s, self._pause_s = self._pause_s, min(2 * self._pause_s, 4.0)
        return pause_s
