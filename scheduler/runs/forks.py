"""Forks: new runs that begin with a checkpoint of another one."""

import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from nst_core.client.resources.runs import ForkRequest, Parent
from nst_core.errors import BlobNotFoundError, ConfigError
from nst_core.protocol.segments import StoredFile
from nst_core.storage.blobs import BlobStore, BlobUri
from nst_core.system.traces import traceparent
from nst_core.training.config import TrainConfig
from nst_core.training.presets import changed, check_member
from nst_core.training.scales import STRENGTHS, STROKES
from scheduler.domain.errors import ConflictError, RequestInvalidError
from scheduler.domain.runs import INITIAL, Run, RunSpec, Segment
from scheduler.runs import paintings
from scheduler.runs.changes import require_files
from scheduler.runs.requests import check_step, option_pointer

#: Checkpoints that a message names.
_NAMED = 20
_IN_MEMORY_BYTES = 32 * 2**20


def fork_spec(
    parent: Run,
    source: Segment,
    request: ForkRequest,
    *,
    painting: StoredFile,
    initial: StoredFile,
    about: dict[str, Any],
) -> RunSpec:
    """Return what a fork is to do, with copies of its own of the painting and of the checkpoint that it begins with.

    Raises RequestInvalidError if an option cannot be used. A strength, if one is given, replaces that of the other run.
    `about` is what clients say of the other run's style.
    """
    spec = parent.spec
    stroke = spec.stroke if request.stroke is None else request.stroke
    return replace(
        spec,
        painting=painting,
        config=_config(parent, request).to_dict(),
        stroke=stroke,
        strength=spec.strength if request.strength is None else request.strength,
        initial=initial,
        initial_name=f"{parent.id}:{source.to_step}",
        publish=spec.publish if request.publish is None else request.publish,
        about=about,
        parent=Parent(run=parent.id, step=source.to_step),
        traceparent=traceparent(),
    )


def check_fork(parent: Run, request: ForkRequest) -> None:
    """Raise RequestInvalidError unless the options of a fork can be used."""
    _config(parent, request)


def check_painting(blobs: BlobStore, parent: Run, request: ForkRequest) -> None:
    """Raise RequestInvalidError if the painting becomes too thin for the strokes of a fork."""
    px = _config(parent, request).style_size_px
    if px >= (parent.config or parent.spec.config)["style_size_px"]:
        return  # the other run has trained on less
    painting = paintings.fetch(blobs, BlobUri.parse(parent.spec.painting.uri))
    pointer = "/options/style_size_px" if request.stroke is None else "/stroke"
    paintings.check_size(paintings.check(painting, tenant=parent.tenant), px, pointer=pointer)


def choose(parent: Run, kept: Sequence[Segment], step: int | None) -> Segment:
    """Return the segment whose checkpoint a fork begins with: the newest, or that of a step.

    Raises ConflictError if there is none yet, or none any more, and RequestInvalidError if it was not kept.
    """
    require_files(parent)
    if not kept:
        raise ConflictError(f"{parent.id} has no checkpoint yet.")
    if step is None:
        return kept[-1]
    for segment in kept:
        if segment.to_step == step:
            return segment
    steps = ", ".join(f"{segment.to_step}" for segment in kept[-_NAMED:])
    raise RequestInvalidError(f"The checkpoint of step {step} was not kept; there are: {steps}.", pointer="/step")


def copy_checkpoint(blobs: BlobStore, source: StoredFile, place: BlobUri) -> StoredFile:
    """Copy a checkpoint into the place of a fork, for the other run keeps its own only for a while.

    Raises ConflictError if it was removed since.
    """
    gone = "The checkpoint was just removed to make room for newer ones; choose another one."
    damaged = f"The checkpoint {source.uri} is damaged; choose another one."
    return _copy(blobs, source, BlobUri(place.bucket, place.key + INITIAL), gone=gone, damaged=damaged)


def copy_painting(blobs: BlobStore, parent: Run, place: BlobUri) -> StoredFile:
    """Copy the painting of a run into the place of a fork, for the other run may be deleted.

    Raises ConflictError if it was deleted just now.
    """
    source = parent.spec.painting
    target = BlobUri(place.bucket, place.key + source.uri.rpartition("/")[2])
    gone, damaged = (f"The painting of {parent.id} is {what}." for what in ("not in storage", "damaged"))
    return _copy(blobs, source, target, gone=gone, damaged=damaged, content_type=paintings.media_type(source.uri))


def _copy(
    blobs: BlobStore,
    source: StoredFile,
    target: BlobUri,
    *,
    gone: str,
    damaged: str,
    content_type: str = "application/octet-stream",
) -> StoredFile:
    digest = hashlib.sha256()
    with tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES) as file:
        try:
            for piece in blobs.stream(BlobUri.parse(source.uri)):
                digest.update(piece)
                file.write(piece)
        except BlobNotFoundError as error:
            raise ConflictError(gone) from error
        if digest.hexdigest() != source.sha256:
            raise ConflictError(damaged)
        file.seek(0)
        blobs.put_file(target, file, content_type=content_type)
    return StoredFile(uri=str(target), sha256=source.sha256)


def _config(parent: Run, request: ForkRequest) -> TrainConfig:
    base = TrainConfig.from_dict(parent.config or parent.spec.config)
    for name, value, (low, high) in (
        ("stroke", request.stroke, STROKES),
        ("strength", request.strength, STRENGTHS),
    ):
        if value is not None and not low <= value <= high:
            raise RequestInvalidError(f"{name} must be a number from {low:g} to {high:g}.", pointer=f"/{name}")
    try:
        config = _scaled(changed(base, request.options, steps=request.steps), parent.spec, request)
        if parent.spec.family is not None:
            check_member(config, base)
    except ConfigError as error:
        raise RequestInvalidError(error.message, pointer=option_pointer(request.options, error)) from error
    if not config.transformer.takes_weights_of(base.transformer):
        message = "A fork continues with its parent's weights, so it must have the same network."
        raise RequestInvalidError(message, pointer="/options/transformer")
    if config.trained == "identity":
        # The pictures of its style would lose their palette, which a checkpoint does not have.
        message = "The identity alone learns in a training that begins with a style, not with a checkpoint."
        raise RequestInvalidError(message, pointer="/options/trained")
    check_step(config)
    return config


def _scaled(config: TrainConfig, spec: RunSpec, request: ForkRequest) -> TrainConfig:
    """Return a config with the stroke and the strength of a fork; those of the other run stay if none are given.

    What the fork has from the other run has that one's in it already, and what the options set has none yet.
    """
    own_size = "style_size_px" in request.options
    stroke = spec.stroke if request.stroke is None else request.stroke
    px = round(config.style_size_px * stroke / (1.0 if own_size else spec.stroke))
    own_weights = not request.options.keys().isdisjoint({"gram", "style_weights"})
    before = spec.strength or 1.0
    strength = before if request.strength is None else request.strength
    return replace(config, style_size_px=px).with_strength(strength / (1.0 if own_weights else before))
