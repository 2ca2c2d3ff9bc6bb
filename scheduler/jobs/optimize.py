"""The method optimize in a request: its preset and options resolved, its paintings named."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from nst_core.errors import ConfigError
from nst_core.gatys.config import LAYER_TERMS, SERVED_NETWORKS, GatysConfig
from nst_core.gatys.presets import PRESETS, preset
from nst_core.protocol.chunks import Method, StyleRef, StylizeOptions
from scheduler.domain.errors import RequestInvalidError
from scheduler.domain.jobs import DEFAULT_PRESET, DEFAULT_PREVIEW_EVERY, OptimizeSpec

_MAX_NAME = 64


@dataclass(frozen=True, kw_only=True)
class OptimizeRequest:
    """How a client wants its photos optimised."""

    preset: str = DEFAULT_PRESET
    #: Fields of GatysConfig that differ from the preset.
    options: dict[str, Any] = field(default_factory=dict)
    #: A preview is stored each time after so many iterations; 0: none.
    preview_every: int = DEFAULT_PREVIEW_EVERY


def check_method(
    method: Method,
    *,
    styles: Sequence[str],
    paintings: Sequence[str],
    optimize: OptimizeRequest | None,
    options: StylizeOptions,
) -> None:
    """Raise RequestInvalidError unless a request has exactly the fields of its method."""
    if method is Method.FEEDFORWARD:
        _require(bool(styles), "Name at least one style.", "/styles")
        _require(not paintings, "Paintings are for the method optimize; name styles.", "/paintings")
        _require(optimize is None, "This is for the method optimize.", "/optimize")
        return
    _require(bool(paintings), "The method optimize needs at least one painting.", "/paintings")
    _require(not styles, "The method optimize takes paintings and no styles.", "/styles")
    # Each has its like among the options of the method, where it says exactly what it does.
    _require(options.strength == 1.0, "The method optimize knows no strength; give it style weights.", "/strength")
    _require(not options.preserve_color, 'For the method optimize give options {"color": …}.', "/preserve_color")
    _require(options.max_px is None, 'For the method optimize give options {"size_px": …}.', "/output/max_px")


def resolve(paintings: Sequence[str], request: OptimizeRequest) -> tuple[tuple[StyleRef, ...], OptimizeSpec]:
    """Return what the paintings of a request are called in the job, and what is done with them.

    Raises RequestInvalidError for an unknown preset, an option that is none, and paintings of equal names.
    """
    config = _config(request)
    styles = tuple(_style(painting, config) for painting in paintings)
    names = [style.name for style in styles]
    for place, name in enumerate(names):
        _require(names.index(name) == place, f"Two paintings are called {name!r}.", f"/paintings/{place}")
    spec = OptimizeSpec(
        paintings=tuple(paintings), preset=request.preset, config=config, preview_every=request.preview_every
    )
    return styles, spec


def summary_of(config: GatysConfig) -> str:
    """Return one line about a config, for people."""
    terms = [*LAYER_TERMS, "laplacian"]
    parts = [name for name in terms if config.active(name)] + (["TV"] if config.tv_weight else [])
    sizes = f"{config.scales} sizes up to " if config.scales > 1 else ""
    longest = f"{config.size_px} px" if config.size_px else "the photo's own size"
    each = " each" if config.scales > 1 else ""
    optimizer = {"lbfgs": "L-BFGS", "adam": "Adam"}[config.optimizer]
    return f"{' + '.join(parts)}; {optimizer}, {config.iterations} iterations{each}, {sizes}{longest}"


def _config(request: OptimizeRequest) -> dict[str, Any]:
    name, options = request.preset, request.options
    if name not in PRESETS:
        known = ", ".join(PRESETS)
        raise RequestInvalidError(f"There is no preset {name!r}; known: {known}.", pointer="/optimize/preset")
    try:
        config = preset(name, **options)
    except ConfigError as error:
        raise RequestInvalidError(error.message, pointer=_pointer(name, options, error)) from error
    served = ", ".join(SERVED_NETWORKS)
    message = f"network must be one of {served}, not {config.network!r}."
    _require(config.network in SERVED_NETWORKS, message, "/optimize/options/network")
    _require(config.initial != "file", "A picture to start from cannot be given.", "/optimize/options/initial")
    return config.to_dict()


def _pointer(name: str, options: dict[str, Any], error: ConfigError) -> str:
    """Return the place of the option that is wrong by itself, or else of all."""
    for key, value in options.items():
        try:
            preset(name, **{key: value})
        except ConfigError as alone:
            if alone.message == error.message:
                return f"/optimize/options/{key}"
    return "/optimize/options"


def _style(painting: str, config: dict[str, Any]) -> StyleRef:
    text = json.dumps([painting, config], sort_keys=True)
    name = PurePosixPath(painting).stem[:_MAX_NAME]
    return StyleRef(name=name, version=hashlib.sha256(text.encode()).hexdigest())


def _require(good: bool, message: str, pointer: str) -> None:
    if not good:
        raise RequestInvalidError(message, pointer=pointer)
