"""Signatures on what passes through Redis, so that access to the queue is not access to the storage.

A scheduler and its workers share a secret. A worker does only what a scheduler has signed, and a scheduler believes
only what a worker has signed. Who can write to Redis without the secret can delay work and delete messages, which the
leases in the database mend, but cannot make a worker read or write an object.

A genuine message that is sent again is harmless. The attempt number in it is the fence: the collector applies what the
current attempt of a chunk or a run says, once, and drops all else. A worker that takes an old message anyway can only
make once more the results that a scheduler had ordered, at the place that it had ordered. So messages need no
timestamp, and the clocks of the machines need not agree.
"""

import hashlib
import hmac
import json
from typing import Any

from nst_core.errors import ProtocolError


class Signer:
    """Signs and checks with one secret. Safe to share between threads."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()

    def sign(self, purpose: str, data: bytes) -> str:
        """Return the signature of bytes as hex digits. It is not valid for another purpose, such as another queue."""
        return hmac.new(self._secret, purpose.encode() + b"\0" + data, hashlib.sha256).hexdigest()

    def is_signed(self, purpose: str, data: bytes, signature: object) -> bool:
        """Return whether a signature, of whatever type a stranger chose, is that of the bytes for this purpose."""
        if not isinstance(signature, str) or not signature.isascii():
            return False
        return hmac.compare_digest(self.sign(purpose, data), signature)

    def seal(self, purpose: str, values: Any) -> dict[str, str]:
        """Return JSON-ready values with their signature, as JSON-ready values."""
        body = json.dumps(values, separators=(",", ":"))
        return {"body": body, "signature": self.sign(purpose, body.encode())}

    def open(self, purpose: str, sealed: Any) -> Any:
        """Return the values of `seal`; raise ProtocolError if they were not sealed with this secret and purpose."""
        body = sealed.get("body") if isinstance(sealed, dict) else None
        # A lone surrogate cannot be encoded, and is nothing that was sealed.
        data = body.encode(errors="replace") if isinstance(body, str) else None
        if data is None or not self.is_signed(purpose, data, sealed.get("signature")):
            raise ProtocolError(
                "It is not signed with this process's NST_MESSAGE_SECRET: it is forged, or another secret is set"
                " where it comes from."
            )
        return json.loads(data)
