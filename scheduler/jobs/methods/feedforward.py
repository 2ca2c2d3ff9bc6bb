"""The method feedforward: photos go once through a network that was trained on a painting. Takes about a second."""

from collections.abc import Sequence
from typing import Any

from nst_core.client.resources.jobs import JobRequest
from nst_core.protocol.chunks import ChunkMessage, Region, StyleRef, StylizeChunk
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
        styles = lookup.styles(request.styles)
        looks = {}
        if request.look is not None:
            for place, style in enumerate(styles):
                looks[style.name] = lookup.look(style, pointer=f"/styles/{place}")
        return Resolved(styles=styles, regions=_regions(request, lookup), looks=looks)

    def message(self, head: ChunkMessage, spec: JobSpec, style: StyleRef, *, scratch: str) -> ChunkMessage:
        """Return the message for a chunk."""
        return StylizeChunk(**vars(head), style=style, options=spec.options_of(style))

    def sources(self, spec: JobSpec) -> Sequence[Source]:
        """Return the masks."""
        styles = tuple(style.name for style in spec.styles)
        masks = {"/mask": spec.options.mask}
        masks |= {_pointer(place, "mask"): region.mask for place, region in enumerate(spec.options.regions)}
        return [Source(styles=styles, uri=mask, pointer=pointer) for pointer, mask in masks.items() if mask is not None]

    def report(self, spec: JobSpec, style: StyleRef) -> dict[str, Any]:
        """Return the version of the style, and its strokes, forms, kept faces and regions, if there are any."""
        options = spec.options_of(style)
        faces = None if options.faces == "paint" else options.faces
        marks = {"stroke": options.stroke, "forms": options.forms, "faces": faces}
        marks = {name: value for name, value in marks.items() if value is not None}
        regions = [
            {"style": each.style.name, "style_version": each.style.version, "mask": each.mask}
            for each in spec.options.regions
        ]
        return super().report(spec, style) | marks | ({"regions": regions} if regions else {})


def _regions(request: JobRequest, lookup: Lookup) -> tuple[Region, ...]:
    """Return the regions of a request, with the versions of their styles."""
    regions = []
    for place, region in enumerate(request.regions):
        pointer = _pointer(place, "mask")
        if region.mask is not None:
            lookup.readable(region.mask, pointer=pointer)
        named = region.mask is not None or request.input.manifest is not None
        require(named, "Give the region a mask, or let the lines of a manifest name one for each photo.", pointer)
        style = lookup.style(region.style, pointer=_pointer(place, "style"))
        regions.append(Region(style=style, mask=region.mask))
    return tuple(regions)


def _pointer(place: int, field: str) -> str:
    return f"/regions/{place}/{field}"
