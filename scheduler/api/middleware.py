"""What every request passes: ids, headers and last resort outside; key, rate and size of the body inside."""

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
from scheduler.access.admission import AnonymousLimiter, BodyBudget
from scheduler.access.keys import Caller, Keys
from scheduler.access.limits import Allowance, Limits, RateLimiter
from scheduler.access.tenants import Tenants
from scheduler.api import problems
from scheduler.api.dependencies import NO_KEY
from scheduler.api.request_ids import choose_id, request_id
from scheduler.domain.errors import RateLimitedError, RequestInvalidError, TooLargeError, UnauthenticatedError

log = logging.getLogger(__name__)

#: What browsers may show; all else is a file to them.
_SHOWN = re.compile(
    r"application/(json|problem\+json|jsonl)|image/(jpeg|png|webp|gif|bmp|tiff)|text/(csv|event-stream)"
)
_SECRET = re.compile(r"/v1/(keys|tenants?)(/|$)")
#: Routes that read files, and count the bytes of everything else themselves.
_OF_FILES = re.compile(r"PUT /v1/uploads/.*|POST /v1/styles")
#: What says what is wrong with a request is for everyone.
_OPEN = frozenset({"/v1/errors"})
#: Look-ups of keys that wait for the database at once; those of routes do not take their threads.
_LOOK_UPS = 16
_MAX_QUERY_BYTES = 8192
#: Of a Content-Length that is read as a number.
_MAX_DIGITS = 18
#: Bytes of JSON bodies that are kept in memory until their requests are answered.
_MOST_IN_HAND = 256 * 2**20
_MOST_IN_HAND_OF_ONE = 64 * 2**20


class Envelope:
    """Gives every answer its request's id and the headers that keep browsers careful; an error becomes an answer."""

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
        token = request_id.set(chosen)
        started = False

        async def send_dressed(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                _dress(MutableHeaders(scope=message), path=scope["path"], chosen=chosen)
            await send(message)

        try:
            await self._app(scope, receive, send_dressed)
        except ClientDisconnect:
            log.info("%s %s: the client went away before all of its request had come", scope["method"], scope["path"])
        except Exception as error:
            if started:
                raise  # half an answer can only be broken off
            await problems.answer_bug(request, error)(scope, receive, send_dressed)
        finally:
            request_id.reset(token)


class Gate:
    """Lets requests to /v1 in: with a key, not too often, and with a body that is not too large."""

    def __init__(self, app: ASGIApp, *, keys: Keys, tenants: Tenants, clock: Clock) -> None:
        """`clock` gives seconds that only go on."""
        self._app = app
        self._keys = keys
        self._tenants = tenants
        self._rates = RateLimiter(clock=clock)
        self._strangers = AnonymousLimiter(clock=clock)
        self._in_hand = BodyBudget(most=_MOST_IN_HAND, most_of_one=_MOST_IN_HAND_OF_ONE)
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
                message = f"The query of a request has at most {_MAX_QUERY_BYTES:,} bytes."
                raise RequestInvalidError(message, pointer="")
            _check_address(scope)
        except NstError as error:
            await problems.answer(request, error, headers=headers)(scope, receive, send)
            return
        request.state.caller = caller
        received = kept = 0

        async def receive_counted() -> Message:
            nonlocal received, kept
            message = await receive()
            nbytes = len(message.get("body", b""))
            received += nbytes
            if max_bytes is not None:
                if received > max_bytes:
                    raise _too_large(max_bytes)
                self._in_hand.add(caller.tenant, nbytes)
                kept += nbytes
            return message

        async def send_counted(message: Message) -> None:
            if allowance is not None and message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_headers_of(allowance))
            await send(message)

        try:
            await self._app(scope, receive_counted, send_counted)
        finally:
            self._in_hand.remove(caller.tenant, kept)

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
            # Counted when it has failed: behind a proxy, those with a valid key may have the same address.
            self._strangers.count(request.client.host if request.client else "")
            raise

    def _count(self, caller: Caller, limits: Limits, headers: dict[str, str]) -> Allowance | None:
        """Count a request of a tenant; if it is one too many, put into `headers` what its answer tells."""
        if limits.requests_per_s is None:
            return None
        burst = limits.requests_per_s if limits.burst is None else limits.burst
        try:
            return self._rates.take(caller.tenant, per_s=limits.requests_per_s, burst=burst)
        except RateLimitedError as error:
            headers |= _headers_of(Allowance(limit=max(1, int(burst)), remaining=0, reset_s=error.retry_after_s))
            raise


def _check_address(scope: Scope) -> None:
    """Raise RequestInvalidError if path or query are not UTF-8: decoded, they would be those of something else."""
    for pointer, raw in (("/path", scope.get("raw_path") or b""), ("/query", scope["query_string"])):
        try:
            unquote_to_bytes(raw).decode()
        except UnicodeDecodeError as error:
            raise RequestInvalidError(
                "The address of a request is UTF-8 behind its percent signs.", pointer=pointer
            ) from error


def _is_guarded(path: str) -> bool:
    return path.startswith("/v1/") and path not in _OPEN


def _max_bytes(request: Request, limits: Limits) -> float | None:
    if _OF_FILES.fullmatch(f"{request.method} {request.url.path}"):
        return None
    return limits.max_body_bytes


def _too_large(max_bytes: float) -> TooLargeError:
    return TooLargeError(f"The body of a request has at most {max_bytes:,.0f} bytes.")


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
