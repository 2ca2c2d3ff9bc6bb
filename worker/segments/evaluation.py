"""The evaluation phase of a run: its last checkpoint becomes a style, which is measured and shown on a sheet."""

import logging
import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nst_core import images
from nst_core.clock import Clock
from nst_core.decoding import decoder
from nst_core.errors import BlobError, ConfigError, ImageError
from nst_core.images.picture import Limits
from nst_core.inference.engines import load_stylizer
from nst_core.inference.stylizer import EXACT
from nst_core.nets.transformer import TransformerNet
from nst_core.nets.weights import dump_transformer, load_transformer_bytes
from nst_core.protocol.events import Result, SegmentFinished, TrainProgress
from nst_core.protocol.segments import TrainSegment, result_uri
from nst_core.storage.blobs import BlobStore, BlobUri
from nst_core.training.config import TrainConfig
from nst_core.training.evaluation import Evaluation, evaluate, measured_part
from nst_core.training.held_out import HELD_OUT, split_names
from nst_core.training.palettes import finished
from nst_core.training.photos import decode_photo
from nst_core.training.pictures import SAMPLE_MAX_PX, parse_style
from nst_core.training.sheet import preview_sheet
from nst_core.training.sources import PhotoSource, SomePhotos
from nst_core.training.trainer import photo_stream
from worker.runtime.loss_networks import load_network_of
from worker.runtime.steering import Steering
from worker.segments.builder import config_of, read_painting, while_going
from worker.segments.photo_library import PhotoLibrary
from worker.segments.samples import Compute
from worker.segments.stored import fetch_checkpoint, fetch_initial, put_file, transformer_of
from worker.settings import WorkerSettings

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
Pixels = npt.NDArray[np.uint8]
#: Photos to measure on if none were held out, or if those are gone; the network was trained on them.
_MEASURED = 4
#: Photos on the sheet if the client named none.
_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class _Work:
    """What the steps of one evaluation share."""

    segment: TrainSegment
    config: TrainConfig
    painting: bytes
    #: Marks of the photos that were held out.
    held_out: list[str]
    #: The trained network.
    net: TransformerNet
    #: 1 x 3 x H x W in 0 to 1, as the training sees the painting.
    style: Tensor
    compute: Compute


class Evaluator:
    """Makes styles of finished trainings; may be used by several threads, one segment each."""

    def __init__(
        self,
        settings: WorkerSettings,
        *,
        name: str,
        blobs: BlobStore,
        library: PhotoLibrary,
        compute: Compute,
        device: torch.device,
        clock: Clock = time.monotonic,
    ) -> None:
        """Work as the named worker; run networks with `compute`, on `device`."""
        self._settings = settings
        self._name = name
        self._blobs = blobs
        self._library = library
        self._compute = compute
        self._device = device
        self._clock = clock

    def run(self, segment: TrainSegment, steering: Steering[TrainProgress]) -> SegmentFinished:
        """Store the weights and the sheet, and return the segment's last event with them and the measurements.

        The measured network is that of the weights file, which is float16, unlike the checkpoint. Raises
        InterruptedWorkError if the segment was stopped, and an NstError if an input cannot be used.
        """
        started = self._clock()
        if segment.checkpoint is None:
            raise ConfigError("There is nothing to evaluate: the run has no checkpoint.")
        checkpoint = fetch_checkpoint(self._blobs, segment.checkpoint)
        progress = TrainProgress(step=checkpoint.step, note="evaluating")
        steering.on_progress(progress)
        config = config_of(segment, checkpoint)
        painting = read_painting(self._blobs, segment, max_bytes=self._settings.max_input_bytes)
        work = _Work(
            segment=segment,
            config=config,
            painting=painting,
            style=parse_style(painting, size_px=config.style_size_px, name="The painting"),
            held_out=checkpoint.origin.get(HELD_OUT) or [],
            net=transformer_of(checkpoint, name=segment.checkpoint.uri),
            compute=while_going(self._compute, steering),
        )
        del checkpoint
        result = self._result(work)
        return SegmentFinished(
            run_id=segment.run_id,
            attempt=segment.attempt,
            worker=self._name,
            step=progress.step,
            seconds=self._clock() - started,
            progress=TrainProgress(step=progress.step),
            config=work.config.to_dict(),
            result=result,
        )

    def _result(self, work: _Work) -> Result:
        config, segment = work.config, work.segment
        source = self._library.open(segment.photos, config)
        training, names = split_names(source.names, work.held_out)
        held, others = (_decoded(source, each, config) for each in (names, training))
        shown = list(islice(held, _SHOWN))
        is_held_out = bool(shown)
        if not shown:
            held, shown = iter(()), list(islice(others, _MEASURED))
        if not shown:
            raise ConfigError(f"None of the {len(source.names):,} photos for the evaluation can be used.")
        weights = dump_transformer(self._finished(work, SomePhotos(source, training or names)))
        # One after the other: a client may hold out a thousand photos.
        evaluation = self._measure(work, weights, chain(shown, held))
        sheet = images.encode(preview_sheet(_painting(work), self._pairs(work, weights, shown)), "jpg")
        nonce = secrets.token_hex(4)
        file = put_file(self._blobs, result_uri(segment, nonce=nonce, suffix="safetensors"), weights)
        sheet_uri = result_uri(segment, nonce=nonce, suffix="jpg")
        put_file(self._blobs, sheet_uri, sheet, content_type="image/jpeg")
        held_out = evaluation.photos if is_held_out else 0
        return Result(weights=file, sheet=sheet_uri, evaluation={**evaluation.to_dict(), "held_out": held_out})

    def _finished(self, work: _Work, photos: PhotoSource) -> TransformerNet:
        """Return the trained network, with the palette that its config asks for."""
        config, initial = work.config, work.segment.initial
        begun_with = fetch_initial(self._blobs, initial)[0] if initial and config.trained == "identity" else None
        net = work.compute(lambda: work.net.to(self._device).to(memory_format=torch.channels_last))
        return finished(
            net,
            config,
            paintings=[work.style],
            photos=photo_stream(config, photos),
            initial=begun_with,
            run=work.compute,
        )

    def _measure(self, work: _Work, weights: bytes, photos: Iterable[Pixels]) -> Evaluation:
        network = load_network_of(work.config)
        transformer = load_transformer_bytes(weights)

        def to_device() -> None:
            network.to(self._device).to(memory_format=torch.channels_last)
            transformer.to(self._device).to(memory_format=torch.channels_last)

        work.compute(to_device)
        return evaluate(
            transformer,
            photos=photos,
            style=work.style,
            network=network,
            config=work.config,
            on_piece=work.compute,
        )

    def _pairs(self, work: _Work, weights: bytes, photos: Sequence[Pixels]) -> list[tuple[Pixels, Pixels]]:
        """Return the photos of the sheet, each with its stylization."""
        # Whatever engine the worker uses for photos: a style's sheet does not depend on the machine.
        stylizer = load_stylizer(weights, device=self._device, choice=EXACT)
        shown = self._samples(work.segment) or photos
        return [(photo, work.compute(lambda photo=photo: stylizer(photo[np.newaxis])[0])) for photo in shown]  # type: ignore[misc]

    def _samples(self, segment: TrainSegment) -> list[Pixels]:
        found = []
        for uri in dict.fromkeys(segment.samples):
            try:
                data = self._blobs.get(BlobUri.parse(uri), max_bytes=self._settings.max_input_bytes)
                found.append(decoder.decode(data, Limits(max_px=SAMPLE_MAX_PX)).rgb)
            except (BlobError, ImageError) as error:
                _log.warning("the sample %s: %s", uri, error)
        return found


def _painting(work: _Work) -> Pixels:
    # No network sees it here, so that a long painting may become thin.
    return decoder.decode(work.painting, Limits(max_px=SAMPLE_MAX_PX, min_side_px=1)).rgb


def _decoded(source: PhotoSource, names: Sequence[str], config: TrainConfig) -> Iterator[Pixels]:
    """Yield what is measured of the photos that can be used."""
    for name in names:
        try:
            photo = decode_photo(source.read(name), size_px=config.size_px, zoom=config.zoom)
        except ImageError as error:
            _log.warning("the photo %s: %s", name, error)
        else:
            yield measured_part(photo, size_px=config.size_px)
