"""The method feedforward: photos go once through a network that was trained on a painting. Takes about a second."""

from collections.abc import Sequence

from nst_core.client.resources.jobs import JobRequest
from nst_core.protocol.chunks import ChunkMessage, StyleRef, StylizeChunk
from scheduler.domain.jobs import JobSpec
from scheduler.jobs.methods.base import Lookup, Method, Resolved, Source, require


class Feedforward(Method):
    """Stylizes photos with trained networks."""

    name = "feedforward"
    queue = StylizeChunk.queue
    styles_alike = True
    takes_masks = True

    def resolve(self, request: JobRequest, lookup: Lookup) -> Resolved:
        """Return the versions of the styles that a request names."""
        require(bool(request.styles), "Name at least one style.", "/styles")
        require(not request.paintings, "Paintings are for the method optimize; name styles.", "/paintings")
        require(request.optimize is None, "This is for the method optimize.", "/optimize")
        if request.mask is not None:
            lookup.readable(request.mask, pointer="/mask")
        return Resolved(styles=lookup.styles(request.styles))

    def message(self, head: ChunkMessage, spec: JobSpec, style: StyleRef, *, scratch: str) -> ChunkMessage:
        """Return the message for a chunk."""
        return StylizeChunk(**vars(head), style=style, options=spec.options)

    def sources(self, spec: JobSpec) -> Sequence[Source]:
        """Return the mask, if there is one."""
        styles, mask = tuple(style.name for style in spec.styles), spec.options.mask
        return [] if mask is None else [Source(styles=styles, uri=mask, pointer="/mask")]
