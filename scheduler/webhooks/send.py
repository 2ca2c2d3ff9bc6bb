"""Sends one message: a POST to a checked address, with limits of time and size.

There are no redirects, no cookies and no proxies from the environment, and each connection is used once. Only the
status and Retry-After of a response are used. Its body is discarded, so that no client can use a webhook to read what
an address returns.
"""

import http.client
import io
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from nst_core.clock import Clock
from nst_core.errors import NstError
from scheduler.webhooks.address import AddressError, Resolver, Rules, Target, system_resolver

TIMEOUT_S = 20.0
#: The largest answer, headers included.
MAX_ANSWER_BYTES = 64 * 1024


class SendError(NstError):
    """A message was not answered."""

    code = "not_answered"
    retryable = True


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The result of one try."""

    #: HTTP status; None if there was no answer.
    status: int | None
    #: A sentence that says why there was no response.
    error: str | None = None
    #: The pause that the receiver asks for.
    retry_after_s: float | None = None
    ms: int = 0

    @property
    def succeeded(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


class Sender:
    """Sends messages. Safe to share between threads."""

    def __init__(
        self,
        rules: Rules,
        *,
        clock: Clock,
        resolver: Resolver = system_resolver,
        timeout_s: float = TIMEOUT_S,
        timer: Clock = time.monotonic,
        ca_file: Path | None = None,
    ) -> None:
        """`timeout_s` is for a whole try, from DNS to the response. The CAs in `ca_file` are added to the system's."""
        self._rules = rules
        self._clock = clock
        self._resolver = resolver
        self._timeout_s = timeout_s
        self._timer = timer
        self._tls = ssl.create_default_context()
        if ca_file is not None:
            self._tls.load_verify_locations(ca_file)

    def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Post a message and return the result; never raises for a failed try."""
        started = self._timer()
        deadline = _Deadline(at=started + self._timeout_s, timer=self._timer)
        try:
            status, retry_after_s = self._post(url, headers, body, deadline)
            answer = Answer(status=status, retry_after_s=retry_after_s)
        except AddressError as error:
            answer = Answer(status=None, error=error.message)
        except (SendError, TimeoutError, OSError, http.client.HTTPException, ValueError) as error:
            answer = Answer(status=None, error=_reason(error, self._timeout_s, over=deadline.is_over))
        ms = round((self._timer() - started) * 1000)
        return Answer(status=answer.status, error=answer.error, retry_after_s=answer.retry_after_s, ms=ms)

    def _post(
        self, url: str, headers: Mapping[str, str], body: bytes, deadline: "_Deadline"
    ) -> tuple[int, float | None]:
        target = self._rules.parse(url)
        addresses = _in_time(lambda: self._rules.resolve(target, self._resolver), deadline)
        fixed = {"Host": target.authority, "Content-Type": "application/json", "Connection": "close"}
        connection = http.client.HTTPConnection(target.host, target.port)
        with _connect(target, addresses, deadline, self._tls) as wire:
            # http.client uses this connection instead of opening one.
            connection.sock = _Wire(socket=wire, deadline=deadline)
            connection.request("POST", target.path, body, {**headers, **fixed})
            with connection.getresponse() as response:
                return response.status, _retry_after_s(response.getheader("Retry-After"), self._clock())


@dataclass(frozen=True, kw_only=True)
class _Deadline:
    at: float
    timer: Clock

    @property
    def is_over(self) -> bool:
        return self.timer() >= self.at

    def left_s(self) -> float:
        """Return the seconds left; raise TimeoutError if there are none."""
        left_s = self.at - self.timer()
        if left_s <= 0:
            raise TimeoutError
        return left_s


class _Reader(io.RawIOBase):
    """The response as it arrives, up to a deadline and a size. A slow response does not extend the deadline."""

    def __init__(self, wire: socket.socket, deadline: _Deadline) -> None:
        super().__init__()
        self._wire = wire
        self._deadline = deadline
        self._room = MAX_ANSWER_BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._room <= 0:
            raise SendError(f"The response has more than {MAX_ANSWER_BYTES // 1024} KiB.")
        self._wire.settimeout(self._deadline.left_s())
        count = self._wire.recv_into(buffer, min(len(buffer), self._room))
        self._room -= count
        return count


@dataclass(frozen=True, kw_only=True)
class _Wire:
    """The parts of a socket that `http.client` uses. It does not close the socket."""

    socket: socket.socket
    deadline: _Deadline

    def sendall(self, data: Any) -> None:
        rest = memoryview(data).cast("B")
        while rest:
            self.socket.settimeout(self.deadline.left_s())
            rest = rest[self.socket.send(rest) :]

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Reader(self.socket, self.deadline))

    def close(self) -> None:
        pass


def _connect(target: Target, addresses: list[str], deadline: _Deadline, tls: ssl.SSLContext) -> socket.socket:
    """Connect to the first address that accepts; the certificate must be for the host's name."""
    failure: OSError = OSError("the host has no address")
    for address in addresses:
        try:
            wire = socket.create_connection((address, target.port), timeout=deadline.left_s())
        except TimeoutError:
            raise
        except OSError as error:
            failure = error
            continue
        if not target.https:
            return wire
        try:
            wire.settimeout(deadline.left_s())
            return tls.wrap_socket(wire, server_hostname=target.host)
        except BaseException:
            wire.close()
            raise
    raise failure


def _in_time(call: Callable[[], list[str]], deadline: _Deadline) -> list[str]:
    """Return what a call returns, or raise TimeoutError: the system's resolver has no time limit of its own."""
    found: list[list[str]] = []
    errors: list[Exception] = []

    def run() -> None:
        try:
            found.append(call())
        except Exception as error:  # noqa: BLE001  Raised below, where the caller is
            errors.append(error)

    thread = threading.Thread(target=run, name="resolve", daemon=True)
    thread.start()
    thread.join(deadline.left_s())
    if errors:
        raise errors[0]
    if not found:
        raise TimeoutError
    return found[0]


def _retry_after_s(value: str | None, now: float) -> float | None:
    """Return a Retry-After header, which is seconds or a date, as seconds from now."""
    if value is None:
        return None
    if value.isascii() and value.isdecimal():
        return float(value[:9])
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now)
    except (ValueError, TypeError, OverflowError):
        return None


def _reason(error: Exception, timeout_s: float, *, over: bool) -> str:
    if isinstance(error, SendError):
        return error.message
    if over or isinstance(error, TimeoutError):
        return f"There was no answer within {timeout_s:g} s."
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"The certificate is not valid: {error.verify_message}."
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or error}."
    if isinstance(error, http.client.HTTPException):
        return "The response is not valid HTTP."
    return f"The connection failed: {error}."
