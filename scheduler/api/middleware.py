"""Middleware of the API.

`Envelope` adds request ids and security headers, and handles unexpected errors. `Gate` checks keys, rates and sizes.
"""

import logging
import math
import re
from urllib.parse import unquote_to_bytes

import anyio.to_thread
from fastapi import Request
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nst_core.clock import Clock
from nst_core.errors import NstError
from nst_core.system.logs import about
from scheduler.access.admission import MOST_FILES_OF_ONE, AnonymousLimiter, Budget
from scheduler.access.keys import Caller, Keys
from scheduler.access.limits import Allowance, Limits, RateLimiter
from scheduler.access.tenants import Tenants
from scheduler.api import problems
from scheduler.api.dependencies import NO_KEY
from scheduler.api.request_ids import choose_id
from scheduler.domain.errors import RateLimitedError, RequestInvalidError, TooLargeError, UnauthenticatedError

log = logging.getLogger(__name__)

#: Media types that browsers may display; they download all others.
_SHOWN = re.compile(
    r"application/(json|problem\+json|jsonl)|image/(jpeg|png|webp|gif|bmp|tiff)|text/(csv|event-stream)"
)
_SECRET = re.compile(r"/v1/(keys|tenants?)(/|$)")
#: Routes that read files; they limit the size of their bodies themselves.
_OF_FILES = re.compile(r"PUT /v1/uploads/.*|POST /v1/styles")
#: Routes below /v1 that need no key.
_OPEN = frozenset({"/v1/errors"})
#: Threads that look up keys in the database, separate from the threads of routes.
_LOOK_UPS = 16
_MAX_QUERY_BYTES = 8192
#: The most digits of a Content-Length.
_MAX_DIGITS = 18
#: The most bytes of JSON bodies in memory at once, in all and for one tenant.
_MOST_IN_HAND = 256 * 2**20
_MOST_IN_HAND_OF_ONE = 64 * 2**20
#: The most files that are on their way at once, and their bytes, which may be on the disk of this machine.
_MOST_FILES = 256
_MOST_SPOOLED = 16 * 2**30
_MOST_SPOOLED_OF_ONE = 4 * 2**30


class Envelope:
    """Adds the request's id and security headers to every response, and turns unexpected errors into responses."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        chosen = choose_id(request.headers.get("X-Request-Id"))
        request.state.request_id = chosen
        started = False

        async def send_dressed(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                _dress(MutableHeaders(scope=message), path=scope["path"], chosen=chosen)
            await send(message)

        with about(request_id=chosen):
            try:
                await self._app(scope, receive, send_dressed)
            except ClientDisconnect:
                what = f"{scope['method']} {scope['path']}"
                log.info("%s: the client disconnected before it had sent the whole request", what)
            except Exception as error:
                if started:
                    raise  # the response has started, so the connection can only be closed
                await problems.answer_bug(request, error)(scope, receive, send_dressed)


class Gate:
    """Checks requests to /v1: the key, the rate limit and the size of the body."""

    def __init__(self, app: ASGIApp, *, keys: Keys, tenants: Tenants, clock: Clock) -> None:
        """`clock` gives monotonic seconds."""
        self._app = app
        self._keys = keys
        self._tenants = tenants
        self._rates = RateLimiter(clock=clock)
        self._strangers = AnonymousLimiter(clock=clock)
        self._bodies = Budget("large requests", most=_MOST_IN_HAND, most_of_one=_MOST_IN_HAND_OF_ONE)
        self._files = Budget("files", most=_MOST_FILES, most_of_one=MOST_FILES_OF_ONE)
        self._spooled = Budget("large files", most=_MOST_SPOOLED, most_of_one=_MOST_SPOOLED_OF_ONE)
        self._limiter: anyio.CapacityLimiter | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a connection."""
        if scope["type"] != "http" or not _is_guarded(scope["path"]):
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        headers: dict[str, str] = {}
        try:
            caller, limits = await self._admit(request)
            allowance = self._count(caller, limits, headers)
            max_bytes = _max_bytes(request, limits)
            size = request.headers.get("Content-Length", "")
            if max_bytes is not None and size.isdecimal() and int(size[:_MAX_DIGITS]) > max_bytes:
                raise _too_large(max_bytes)
            if len(scope["query_string"]) > _MAX_QUERY_BYTES:
                message = f"The query string may have at most {_MAX_QUERY_BYTES:,} bytes."
                raise RequestInvalidError(message, pointer="")
            _check_address(scope)
            if max_bytes is None:
                self._files.add(caller.tenant, 1)
        except NstError as error:
            await problems.answer(request, error, headers=headers)(scope, receive, send)
            return
        request.state.caller = caller
        held = self._spooled if max_bytes is None else self._bodies
        received = kept = 0

        async def receive_counted() -> Message:
            nonlocal received, kept
            message = await receive()
            nbytes = len(message.get("body", b""))
            received += nbytes
            if max_bytes is not None and received > max_bytes:
                raise _too_large(max_bytes)
            held.add(caller.tenant, nbytes)
            kept += nbytes
            return message

        async def send_counted(message: Message) -> None:
            if allowance is not None and message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_headers_of(allowance))
            await send(message)

        try:
            with about(tenant=caller.tenant):
                await self._app(scope, receive_counted, send_counted)
        finally:
            held.remove(caller.tenant, kept)
            if max_bytes is None:
                self._files.remove(caller.tenant, 1)

    async def _admit(self, request: Request) -> tuple[Caller, Limits]:
        try:
            scheme, _, key = request.headers.get("Authorization", "").partition(" ")
            if scheme.lower() != "bearer" or not key.strip():
                raise UnauthenticatedError(NO_KEY)
            if self._limiter is None:
                self._limiter = anyio.CapacityLimiter(_LOOK_UPS)

            def admit() -> tuple[Caller, Limits]:
                caller = self._keys.authenticate(key.strip())
                return caller, self._tenants.limits(caller.tenant)

            return await anyio.to_thread.run_sync(admit, limiter=self._limiter)
        except UnauthenticatedError:
            # Count only failures: behind a proxy, clients with valid keys may share the address.
            self._strangers.count(request.client.host if request.client else "")
            raise

    def _count(self, caller: Caller, limits: Limits, headers: dict[str, str]) -> Allowance | None:
        """Count a request of a tenant; if it exceeds the rate limit, add the rate headers to `headers` and raise."""
        if limits.requests_per_s is None:
            return None
        burst = limits.requests_per_s if limits.burst is None else limits.burst
        try:
            return self._rates.take(caller.tenant, per_s=limits.requests_per_s, burst=burst)
        except RateLimitedError as error:
            headers |= _headers_of(Allowance(limit=max(1, int(burst)), remaining=0, reset_s=error.retry_after_s))
            raise


def _check_address(scope: Scope) -> None:
    """Raise RequestInvalidError if the path or query is not UTF-8, because decoding would change it."""
    for pointer, raw in (("/path", scope.get("raw_path") or b""), ("/query", scope["query_string"])):
        try:
            unquote_to_bytes(raw).decode()
        except UnicodeDecodeError as error:
            raise RequestInvalidError("The percent-encoding of the URL is not valid UTF-8.", pointer=pointer) from error


def _is_guarded(path: str) -> bool:
    return path.startswith("/v1/") and path not in _OPEN


def _max_bytes(request: Request, limits: Limits) -> float | None:
    if _OF_FILES.fullmatch(f"{request.method} {request.url.path}"):
        return None
    return limits.max_body_bytes


def _too_large(max_bytes: float) -> TooLargeError:
    return TooLargeError(f"The request's body may have at most {max_bytes:,.0f} bytes.")


def _headers_of(allowance: Allowance) -> dict[str, str]:
    return {
        "RateLimit-Limit": str(allowance.limit),
        "RateLimit-Remaining": str(allowance.remaining),
        "RateLimit-Reset": str(math.ceil(allowance.reset_s)),
    }


def _dress(headers: MutableHeaders, *, path: str, chosen: str) -> None:
    headers["X-Request-Id"] = chosen
    headers["X-Content-Type-Options"] = "nosniff"
    if _SECRET.match(path):
        headers["Cache-Control"] = "no-store"
    kind = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if path.startswith("/v1/") and kind and not _SHOWN.fullmatch(kind):
        headers.setdefault("Content-Disposition", "attachment")
