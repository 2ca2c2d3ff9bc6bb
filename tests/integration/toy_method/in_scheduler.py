"""The method as a scheduler sees it."""

from typing import Any

from nst_core.client.resources.jobs import JobRequest
from nst_core.protocol.chunks import ChunkMessage, StyleRef
from scheduler.domain.jobs import JobSpec
from scheduler.jobs.methods.base import Lookup, Method, Resolved, require
from tests.integration.toy_method.message import GreyChunk


class Grey(Method):
    """Turns photos grey."""

    name = "grey"
    queue = GreyChunk.queue
    styles_alike = True

    def resolve(self, request: JobRequest, lookup: Lookup) -> Resolved:
        require(not request.styles, "The method grey has no styles.", "/styles")
        return Resolved(styles=(StyleRef(name="grey", version="0" * 64),), details={"amount": request.strength})

    def message(self, head: ChunkMessage, spec: JobSpec, style: StyleRef, *, scratch: str) -> ChunkMessage:
        return GreyChunk(**vars(head), amount=spec.details["amount"])

    def report(self, spec: JobSpec, style: StyleRef) -> dict[str, Any]:
        return dict(spec.details)
