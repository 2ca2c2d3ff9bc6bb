"""Signatures of webhooks by Standard Webhooks 1.0.0, for senders and receivers alike.

A receiver calls `verify` with the secret, the request's headers and the exact bytes of its body:

    from nst_core.client.signing import SignatureError, verify
    verify("whsec_…", request.headers, request.body, now=time.time())

and drops what it has had before by the header webhook-id: a message may come more than once.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence

from nst_core.errors import NstError

ID_HEADER = "webhook-id"
TIMESTAMP_HEADER = "webhook-timestamp"
SIGNATURE_HEADER = "webhook-signature"
#: Receivers refuse messages that were signed longer ago, or further in the future, so recordings cannot be replayed.
TOLERANCE_S = 300.0
_PREFIX = "whsec_"
_VERSION = "v1"
_SECRET_BYTES = 32
#: Bounds of the standard, in bytes of key.
_MIN_BYTES, _MAX_BYTES = 24, 64


class SignatureError(NstError):
    """A message is not signed with the secret, its time is wrong, or the secret is malformed."""

    code = "signature_invalid"


def new_secret() -> str:
    """Return a random secret: whsec_ and the base64 of 32 bytes."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def sign(secret_list: Sequence[str], *, id: str, timestamp: int, body: bytes) -> str:
    """Return the signature header of a message: one signature for each secret, with spaces in between.

    Raises SignatureError if a secret is malformed.
    """
    return " ".join(f"{_VERSION},{_signature(_key(each), id, str(timestamp), body)}" for each in secret_list)


def verify(
    secret: str | Sequence[str],
    headers: Mapping[str, str],
    body: bytes,
    *,
    now: float,
    tolerance_s: float = TOLERANCE_S,
) -> str:
    """Return the id of a message that was signed with the secret, or one of several, within `tolerance_s` of `now`.

    `headers` are those of the request, in any case; `body` are its bytes as they came. `now` is in seconds since 1970.
    Raises SignatureError for all other messages.
    """
    lower = {name.lower(): value for name, value in headers.items()}
    try:
        id, timestamp, given = (lower[name] for name in (ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER))
    except KeyError as error:
        raise SignatureError(f"The message has no header {error.args[0]}.") from None
    if not (timestamp.isascii() and timestamp.isdecimal()):
        raise SignatureError("The message's timestamp is not a whole number of seconds.")
    if not abs(now - int(timestamp[:20])) <= tolerance_s:
        raise SignatureError("The message's timestamp is too long ago, or in the future.")
    keys = [_key(each) for each in ([secret] if isinstance(secret, str) else secret)]
    signatures = [part[len(_VERSION) + 1 :] for part in given.split(" ") if part.startswith(f"{_VERSION},")]
    good = False
    for key in keys:
        expected = _signature(key, id, timestamp, body).encode()
        for signature in signatures:
            # Compared in constant time, and all of them, so that the time reveals nothing.
            good |= hmac.compare_digest(expected, _encoded(signature))
    if not good:
        raise SignatureError("The message is not signed with the secret.")
    return id


def _key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise SignatureError("A secret is whsec_ and base64.") from None
    if not _MIN_BYTES <= len(key) <= _MAX_BYTES:
        raise SignatureError(f"A secret has {_MIN_BYTES} to {_MAX_BYTES} bytes.")
    return key


def _encoded(text: str) -> bytes:
    # A lone surrogate cannot be encoded, and is nothing that was signed.
    return text.encode(errors="replace")


def _signature(key: bytes, id: str, timestamp: str, body: bytes) -> str:
    signed = b".".join((_encoded(id), timestamp.encode(), body))
    return base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
