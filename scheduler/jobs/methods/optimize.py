"""The method optimize: the pixels of each photo are optimised (Gatys et al. 2016). Takes minutes."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from nst_core.client.resources.jobs import JobRequest
from nst_core.client.resources.methods import Optimize as OptimizeOptions
from nst_core.errors import ConfigError
from nst_core.gatys.config import LAYER_TERMS, SERVED_NETWORKS, GatysConfig
from nst_core.gatys.presets import PRESETS, preset
from nst_core.protocol.chunks import ChunkMessage, OptimizeChunk, StyleRef
from scheduler.domain.errors import RequestInvalidError
from scheduler.domain.jobs import JobSpec
from scheduler.domain.naming import style_of_painting
from scheduler.jobs.methods.base import Lookup, Method, Resolved, Source, Window, require
from scheduler.settings import SchedulerSettings


@dataclass(frozen=True, kw_only=True)
class OptimizeDetails:
    """What the method does with every photo and painting; stored with the job."""

    #: s3:// addresses, in the order of the job's styles, which are named after them.
    paintings: Sequence[str]
    preset: str
    #: The preset with the client's options, from `GatysConfig.to_dict`, so that no job changes with its preset.
    config: dict[str, Any]
    #: The number of iterations between two previews; 0 means no previews.
    preview_every: int

    @classmethod
    def of(cls, spec: JobSpec) -> "OptimizeDetails":
        """Return the details of a job."""
        return cls(**spec.details)

    def painting(self, spec: JobSpec, style: StyleRef) -> str:
        """Return the s3:// address of the painting that a style of a job stands for."""
        return self.paintings[[each.name for each in spec.styles].index(style.name)]


class Optimize(Method):
    """Optimises the pixels of photos. Any painting will do: nothing is trained before."""

    name = "optimize"
    queue = OptimizeChunk.queue
    chunk_items = 1  # each takes minutes, and another worker can take the next one
    has_checkpoints = True
    longest_side_pointer = "/optimize/options/size_px"

    def window(self, settings: SchedulerSettings) -> Window:
        """Return how many chunks may wait in the queue."""
        return Window(chunks=settings.optimize_window, lease_s=settings.optimize_dispatch_lease_s)

    def resolve(self, request: JobRequest, lookup: Lookup) -> Resolved:
        """Return a style for each painting: its stem, and a hash of its address and the config for a version."""
        require(bool(request.paintings), "The method optimize needs at least one painting.", "/paintings")
        require(not request.styles, "The method optimize takes paintings and no styles.", "/styles")
        # Each of these, but mask, regions, faces, precision, look, stroke, forms and upscale, has a counterpart among
        # the method's options.
        require(request.strength == 1.0, "The method optimize knows no strength; give it style weights.", "/strength")
        require(not request.preserve_color, 'For the method optimize give options {"color": …}.', "/preserve_color")
        require(request.mask is None, "This is for the method feedforward.", "/mask")
        require(not request.regions, "This is for the method feedforward.", "/regions")
        require(request.faces in (None, "paint"), "This is for the method feedforward.", "/faces")
        require(request.precision == "auto", "This is for the method feedforward.", "/precision")
        require(request.look is None, "This is for the method feedforward.", "/look")
        require(request.stroke is None, "This is for the method feedforward.", "/stroke")
        require(request.forms is None, "This is for the method feedforward.", "/forms")
        require(request.upscale == 1, "This is for the method feedforward.", "/upscale")
        require(request.output.max_px is None, 'For the method optimize give options {"size_px": …}.', "/output/max_px")
        for place, painting in enumerate(request.paintings):
            lookup.readable(painting, pointer=f"/paintings/{place}")
        return resolve(request.paintings, request.optimize or OptimizeOptions())

    def message(self, head: ChunkMessage, spec: JobSpec, style: StyleRef, *, scratch: str) -> ChunkMessage:
        """Return the message for a chunk."""
        details = OptimizeDetails.of(spec)
        return OptimizeChunk(
            **vars(head),
            painting=details.painting(spec, style),
            config=details.config,
            scratch=scratch,
            preview_every=details.preview_every,
            quality=spec.options.quality,
        )

    def longest_side_px(self, spec: JobSpec) -> int | None:
        """Return the size that the options ask for."""
        size_px: int | None = OptimizeDetails.of(spec).config.get("size_px")
        return size_px

    def sources(self, spec: JobSpec) -> Sequence[Source]:
        """Return the paintings."""
        pairs = enumerate(zip(spec.styles, OptimizeDetails.of(spec).paintings, strict=True))
        return [Source(styles=(style.name,), uri=uri, pointer=f"/paintings/{place}") for place, (style, uri) in pairs]

    def report(self, spec: JobSpec, style: StyleRef) -> dict[str, Any]:
        """Return the painting and the preset."""
        details = OptimizeDetails.of(spec)
        return {"painting": details.painting(spec, style), "preset": details.preset}

    def shown(self, spec: JobSpec) -> dict[str, Any]:
        """Return the paintings and the options."""
        shown = dict(spec.details)
        return {"paintings": shown.pop("paintings"), "optimize": shown}


def resolve(paintings: Sequence[str], request: OptimizeOptions) -> Resolved:
    """Return the styles and the details of a job.

    Raises RequestInvalidError for an unknown preset, an invalid option, or two paintings with the same name.
    """
    config = _config(request)
    styles = tuple(_style(painting, config) for painting in paintings)
    names = [style.name for style in styles]
    for place, name in enumerate(names):
        require(names.index(name) == place, f"Two paintings are called {name!r}.", f"/paintings/{place}")
    details = OptimizeDetails(
        paintings=list(paintings), preset=request.preset, config=config, preview_every=request.preview_every
    )
    return Resolved(styles=styles, details=asdict(details))


def summary_of(config: GatysConfig) -> str:
    """Return a one-line summary of a config, for people."""
    terms = [*LAYER_TERMS, "laplacian"]
    parts = [name for name in terms if config.active(name)] + (["TV"] if config.tv_weight else [])
    sizes = f"{config.scales} sizes up to " if config.scales > 1 else ""
    longest = f"{config.size_px} px" if config.size_px else "the photo's own size"
    each = " each" if config.scales > 1 else ""
    optimizer = {"lbfgs": "L-BFGS", "adam": "Adam"}[config.optimizer]
    return f"{' + '.join(parts)}; {optimizer}, {config.iterations} iterations{each}, {sizes}{longest}"


def _config(request: OptimizeOptions) -> dict[str, Any]:
    name, options = request.preset, request.options
    if name not in PRESETS:
        known = ", ".join(PRESETS)
        raise RequestInvalidError(f"There is no preset {name!r}; known: {known}.", pointer="/optimize/preset")
    try:
        config = preset(name, **options)
    except ConfigError as error:
        pointer = f"/optimize/options/{error.field}" if error.field in options else "/optimize/options"
        raise RequestInvalidError(error.message, pointer=pointer) from error
    served = ", ".join(SERVED_NETWORKS)
    message = f"network must be one of {served}, not {config.network!r}."
    require(config.network in SERVED_NETWORKS, message, "/optimize/options/network")
    require(config.initial != "file", "A picture to start from cannot be given.", "/optimize/options/initial")
    return config.to_dict()


def _style(painting: str, config: dict[str, Any]) -> StyleRef:
    text = json.dumps([painting, config], sort_keys=True)
    return StyleRef(name=style_of_painting(painting), version=hashlib.sha256(text.encode()).hexdigest())
