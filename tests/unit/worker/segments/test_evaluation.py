"""Tests of worker.segments.evaluation."""

import hashlib
import logging
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from io import BytesIO
from threading import Event
from typing import Any

import pytest
import torch
from PIL import Image

from nst_core.nets.families import one_style, with_palettes
from nst_core.nets.transformer import TransformerNet
from nst_core.nets.transformer_config import PALETTE_NUMBERS
from nst_core.nets.weights import dump_transformer, load_transformer_bytes
from nst_core.protocol.events import SegmentFailure, SegmentFinished, SegmentProgress
from nst_core.protocol.segments import Phase, TrainSegment, dump_segment, result_uri
from nst_core.storage.blobs import BlobStore, BlobUri
from nst_core.training.checkpoint import parse_checkpoint
from nst_core.training.held_out import HELD_OUT, split_names
from tests.brokers import Broker
from tests.unit.worker.kit import WAIT_S, events, wait_until
from tests.unit.worker.training_kit import (
    TINY,
    make_segment,
    next_segment,
    objects,
    put,
    soft_picture,
    soft_pictures,
)
from worker.runtime.engine import Engine
from worker.segments.task import LANE, TrainTask
from worker.settings import WorkerSettings


@dataclass
class Trainee:
    """The task and its parts."""

    settings: WorkerSettings
    broker: Broker
    blobs: BlobStore
    engine: Engine
    stop: Event = field(default_factory=Event)

    def __post_init__(self) -> None:
        self.task = self.task_of(self.blobs)

    def task_of(self, blobs: BlobStore) -> TrainTask:
        """Return a task with its own storage."""
        return TrainTask(
            self.settings,
            name="w@test",
            broker=self.broker,
            blobs=blobs,
            engine=self.engine,
            device=torch.device("cpu"),
            stop=self.stop,
        )

    def work(self, segment: TrainSegment) -> SegmentFinished:
        """Work on a segment and return its end."""
        self.task(dump_segment(segment))
        return self.end

    @property
    def end(self) -> SegmentFinished:
        """The last event, which must be the end of a segment."""
        event = events(self.broker)[-1]
        assert isinstance(event, SegmentFinished)
        return event

    @property
    def progress(self) -> list[SegmentProgress]:
        """The events between starts and ends."""
        return [event for event in events(self.broker) if isinstance(event, SegmentProgress)]


@pytest.fixture
def trainee(settings: WorkerSettings, broker: Broker, blobs: BlobStore, engine: Engine) -> Iterator[Trainee]:
    """A worker on an empty Redis."""
    trainee = Trainee(settings, broker, blobs, engine)
    yield trainee
    trainee.task.close()


def check_failure(trainee: Trainee, end: SegmentFinished, code: str, message: str, *, retryable: bool = False) -> None:
    """Assert that a segment failed with an error, and that the worker continues."""
    assert isinstance(end.failure, SegmentFailure)
    assert (end.failure.code, end.failure.retryable) == (code, retryable)
    assert message in end.failure.message
    assert (end.checkpoint, end.result) == (None, None)
    assert trainee.work(make_segment(trainee.blobs, config=replace(TINY, steps=1))).step == 1


def evaluation_of(trainee: Trainee, segment: TrainSegment, **changes: Any) -> TrainSegment:
    """Train a run to its end and return the segment that evaluates it."""
    end = trainee.work(segment)
    return next_segment(segment, end, phase=Phase.EVALUATE, **changes)


def test_a_style_of_a_family_is_kept_with_the_identity_and_shown_without(trainee: Trainee) -> None:
    blobs = trainee.blobs
    family = TransformerNet(replace(TINY.transformer, styles=3, identity=True))
    initial = put(blobs, "family", dump_transformer(family))
    config = replace(TINY, transformer=family.config.newcomer, trained="norms", steps=2)
    samples = {"cat.png": soft_picture(50)}
    segment = evaluation_of(trainee, make_segment(blobs, config=config, initial=initial, samples=samples))
    end = trainee.work(segment)
    assert end.result is not None
    made = load_transformer_bytes(blobs.get(BlobUri.parse(end.result.weights.uri)), style=None)
    assert made.config == config.transformer
    whole = load_transformer_bytes(dump_transformer(family), style=None)
    for name, tensor in one_style(whole, 2).state_dict().items():
        assert torch.equal(one_style(made, 1).state_dict()[name], tensor)
    assert end.result.evaluation["total"] > 0


def test_a_run_becomes_a_style_with_measurements_and_a_sheet(trainee: Trainee) -> None:
    blobs = trainee.blobs
    segment = evaluation_of(trainee, make_segment(blobs, held_out=2, samples={"cat.png": soft_picture(50)}))
    end = trainee.work(segment)
    assert (end.failure, end.step, end.checkpoint) == (None, 12, None)
    assert end.result is not None
    weights = blobs.get(BlobUri.parse(end.result.weights.uri))
    digest = hashlib.sha256(weights).hexdigest()
    assert end.result.weights.sha256 == digest
    for uri, suffix in ((end.result.weights.uri, "safetensors"), (end.result.sheet, "jpg")):
        nonce = uri.rpartition("-")[2].partition(".")[0]
        assert len(nonce) == 8
        assert uri == result_uri(segment, nonce=nonce, suffix=suffix)
    assert load_transformer_bytes(weights).config == TINY.transformer
    with Image.open(BytesIO(blobs.get(BlobUri.parse(end.result.sheet)))) as sheet:
        assert sheet.format == "JPEG"
        assert sheet.width > 1000
    assert (end.result.evaluation["photos"], end.result.evaluation["held_out"]) == (2, 2)
    assert end.result.evaluation["total"] > 0
    assert "evaluating" in {event.progress.note for event in trainee.progress if event.progress}
    again = trainee.work(replace(segment, attempt=segment.attempt + 1))
    assert again.result is not None
    assert again.result.weights.sha256 == digest
    assert again.result.evaluation == end.result.evaluation
    assert len(objects(blobs, segment, "result/")) == 4, "each attempt has files of its own"


def test_a_style_gets_the_palette_that_its_config_asks_for(trainee: Trainee) -> None:
    blobs, found = trainee.blobs, {}
    for share in (0.0, 0.5, 1.0):
        segment = evaluation_of(trainee, make_segment(blobs, config=replace(TINY, palette=share), held_out=2))
        end = trainee.work(segment)
        assert end.result is not None
        net = load_transformer_bytes(blobs.get(BlobUri.parse(end.result.weights.uri)))
        assert net.config == replace(TINY.transformer, palette=share > 0)
        found[share] = net.state_dict().get("palette"), end.result.evaluation
    (_, plain), (half, _), (whole, finished) = (found[share] for share in (0.0, 0.5, 1.0))
    assert half is not None
    assert whole is not None
    assert whole.abs().max() > 0.02
    torch.testing.assert_close(2 * half, whole, atol=2e-3, rtol=0.01)
    assert finished["style"] == plain["style"], "a training knows of no palette"
    assert finished["ssim"] != plain["ssim"], "the finished picture is looked at"


def test_a_style_that_gets_an_identity_keeps_its_palette(trainee: Trainee) -> None:
    blobs = trainee.blobs
    start = dump_transformer(with_palettes(TransformerNet(TINY.transformer), torch.rand(PALETTE_NUMBERS)))
    network = replace(TINY.transformer, styles=2, identity=True)
    config = replace(TINY, transformer=network, trained="identity", identity_weight=10.0, steps=2, palette=1.0)
    end = trainee.work(evaluation_of(trainee, make_segment(blobs, config=config, initial=put(blobs, "start", start))))
    assert end.result is not None
    made = load_transformer_bytes(blobs.get(BlobUri.parse(end.result.weights.uri))).state_dict()
    before = load_transformer_bytes(start).state_dict()
    assert made.keys() == before.keys()
    assert all(torch.equal(made[name], value) for name, value in before.items())


def test_a_run_without_held_out_photos_is_measured_on_other_photos(trainee: Trainee) -> None:
    photos = {"0bad.png": b"no picture", **soft_pictures(3)}
    end = trainee.work(evaluation_of(trainee, make_segment(trainee.blobs, photos=photos)))
    assert end.result is not None
    assert (end.result.evaluation["photos"], end.result.evaluation["held_out"]) == (3, 0)


def test_unusable_photos_do_not_replace_those_that_were_held_out(trainee: Trainee) -> None:
    photos = {f"{number}-bad.png": b"no picture" for number in range(50)} | soft_pictures(6)
    end = trainee.work(evaluation_of(trainee, make_segment(trainee.blobs, photos=photos, held_out=3)))
    assert end.result is not None
    assert (end.result.evaluation["photos"], end.result.evaluation["held_out"]) == (3, 3)


def test_a_run_whose_held_out_photos_are_gone_is_measured_on_others(
    trainee: Trainee, caplog: pytest.LogCaptureFixture
) -> None:
    blobs = trainee.blobs
    segment = evaluation_of(trainee, make_segment(blobs, held_out=2))
    assert segment.checkpoint is not None
    marks = parse_checkpoint(blobs.get(BlobUri.parse(segment.checkpoint.uri))).origin[HELD_OUT]
    for name in split_names(list(soft_pictures()), marks)[1]:
        blobs.put(BlobUri.parse(segment.photos + name), b"no picture")
    with caplog.at_level(logging.WARNING, "worker"):
        end = trainee.work(segment)
    assert end.result is not None
    assert (end.result.evaluation["photos"], end.result.evaluation["held_out"]) == (4, 0)
    assert caplog.text.count("The data is not an image.") == 2


def test_a_photo_of_any_shape_can_be_trained_on_and_measured(trainee: Trainee) -> None:
    photos = {f"{number}.png": soft_picture(number, width=2000, height=20) for number in range(2)}
    end = trainee.work(evaluation_of(trainee, make_segment(trainee.blobs, photos=photos, held_out=1)))
    assert end.result is not None
    assert end.result.evaluation["photos"] == 1


def test_a_painting_that_can_be_trained_on_fits_on_the_sheet(trainee: Trainee) -> None:
    blobs = trainee.blobs
    long = put(blobs, f"long-{secrets.token_hex(4)}.png", soft_picture(7, width=4096, height=32))
    segment = make_segment(blobs, config=replace(TINY, steps=1, style_size_px=4096), painting=long)
    end = trainee.work(evaluation_of(trainee, segment))
    assert end.failure is None
    assert end.result is not None


def test_an_evaluation_ends_when_it_is_stopped(trainee: Trainee) -> None:
    segment = evaluation_of(trainee, make_segment(trainee.blobs))
    gate = Event()
    with ThreadPoolExecutor(1) as thread:
        busy = trainee.engine.submit(lambda: gate.wait(WAIT_S), lane=LANE)
        done = thread.submit(trainee.task, dump_segment(segment))
        wait_until(lambda: any(event.progress and event.progress.note == "evaluating" for event in trainee.progress))
        trainee.stop.set()
        gate.set()
        done.result(WAIT_S)
    assert busy.result(WAIT_S)
    assert (trainee.end.result, trainee.end.failure, trainee.end.step) == (None, None, 12)
    assert objects(trainee.blobs, segment, "result/") == []


def test_an_evaluation_without_a_checkpoint_fails(trainee: Trainee) -> None:
    end = trainee.work(make_segment(trainee.blobs, phase=Phase.EVALUATE))
    check_failure(trainee, end, "config_invalid", "no checkpoint")
