"""Tests of worker.segments.training and its parts: real trainings on 32 pixels, with a real S3 server."""

import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from nst_core.errors import (
    BlobNotFoundError,
    ConfigError,
    NstError,
    TrainingDivergedError,
)
from nst_core.protocol.events import SegmentFinished
from nst_core.protocol.segments import StoredFile, TrainSegment
from nst_core.storage.blobs import BlobStore, BlobUri
from nst_core.training.config import TrainConfig
from nst_core.training.held_out import HELD_OUT, split_names
from nst_core.training.step_losses import StepLosses
from nst_core.training.stored_photos import StoredPhotos
from tests.unit.worker.kit import wait_until
from tests.unit.worker.training_kit import (
    TINY,
    Bench,
    checkpoint_of,
    make_segment,
    next_segment,
    objects,
    put,
    soft_picture,
    soft_pictures,
)
from worker.runtime.engine import Engine
from worker.runtime.outcomes import InterruptedWorkError
from worker.settings import WorkerSettings

MakeBench = Callable[..., Bench]


@pytest.fixture
def benches(settings: WorkerSettings, blobs: BlobStore, engine: Engine, tmp_path: Path) -> Iterator[MakeBench]:
    """Makes workers with empty memory, and closes them."""
    made: list[Bench] = []

    def make(**changes: Any) -> Bench:
        made.append(Bench(settings, blobs, engine, tmp_path / "photos", **changes))
        return made[-1]

    yield make
    for bench in made:
        bench.close()


@pytest.fixture
def bench(benches: MakeBench) -> Bench:
    """A worker."""
    return benches()


def whole(bench: Bench, segment: TrainSegment) -> SegmentFinished:
    """Return the end of an equal run without interruption, in one segment."""
    end = bench.run(replace(segment, place=segment.place + "undisturbed/"))
    assert end.step == segment.config["steps"]
    return end


def same_tensors(blobs: BlobStore, one: SegmentFinished, other: SegmentFinished) -> bool:
    """Return whether two checkpoints have the same weights and moments, bit for bit."""
    first, second = checkpoint_of(blobs, one).tensors, checkpoint_of(blobs, other).tensors
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_a_segment_trains_to_the_last_step_and_stores_checkpoint_and_losses(bench: Bench, blobs: BlobStore) -> None:
    segment = make_segment(blobs)
    end = bench.run(segment)
    assert (end.run_id, end.attempt, end.worker, end.step) == (segment.run_id, 1, "w@test", 12)
    checkpoint = checkpoint_of(blobs, end)
    assert (checkpoint.step, checkpoint.config) == (12, TINY)
    assert checkpoint.origin["style_sha256"] == segment.painting.sha256
    assert end.losses is not None
    header, *lines = blobs.get(BlobUri.parse(end.losses)).decode().splitlines()
    assert header.startswith("step,content,style")
    assert [line.split(",")[0] for line in lines] == [str(step) for step in range(1, 13)]
    assert end.config == TINY.to_dict()
    assert end.photos is not None
    assert (end.photos.count, end.photos.held_out, end.photos.skipped) == (6, 0, 0)
    assert "only 6 photos" in (end.photos.warning or "")


def test_each_step_is_told_with_its_losses(benches: MakeBench, blobs: BlobStore) -> None:
    told: list[StepLosses] = []
    benches(on_losses=told.append).run(make_segment(blobs))
    assert [losses.step for losses in told] == list(range(1, 13))
    assert all(losses.total > 0 for losses in told)


def test_progress_has_step_losses_and_speed(bench: Bench, blobs: BlobStore) -> None:
    bench.run(make_segment(blobs))
    assert (bench.seen[0].step, bench.seen[0].note) == (0, "loading")
    assert [each.step for each in bench.seen] == sorted(each.step for each in bench.seen)
    last = bench.seen[-1]
    assert (last.step, last.note) == (12, "")
    assert set(last.losses) == {"content", "style", "tv", "stability", "shift", "grid", "total"}
    assert last.losses["total"] == pytest.approx(last.losses["content"] + last.losses["style"], rel=1e-4)
    assert last.steps_per_s > 0


@pytest.mark.parametrize("warm", [True, False])
def test_segments_give_the_same_bytes_as_an_uninterrupted_run(benches: MakeBench, blobs: BlobStore, warm: bool) -> None:
    segment, bench = make_segment(blobs), benches()
    last = whole(bench, segment)
    steps = []
    for until in (1, 5, 6, None):
        end = (bench if warm else benches()).run(segment, until=until)
        steps.append(end.step)
        segment = next_segment(segment, end)
    assert steps == [1, 5, 6, 12]
    assert end.checkpoint is not None
    assert last.checkpoint is not None
    assert end.checkpoint.sha256 == last.checkpoint.sha256
    assert sum(each.note == "loading" for each in bench.seen) == 1 + warm, "the undisturbed run's, and this one's first"


def test_the_death_of_a_worker_costs_a_segment_and_changes_no_result(benches: MakeBench, blobs: BlobStore) -> None:
    segment = make_segment(blobs)
    first = benches().run(segment, until=4)
    segment = next_segment(segment, first)
    lost = benches().run(segment, until=9)  # its end event is lost
    again = replace(segment, attempt=3)
    end = benches().run(again)
    assert same_tensors(blobs, end, whole(benches(), segment))
    assert len(objects(blobs, segment, "checkpoints/")) == 3, "the lost one overwrote nothing"
    assert lost.checkpoint != end.checkpoint


def test_a_training_in_memory_is_used_only_at_exactly_the_runs_step(bench: Bench, blobs: BlobStore) -> None:
    segment = make_segment(blobs)
    first = bench.run(segment, until=3)
    second = bench.run(next_segment(segment, first), until=8)
    # The second one's end was lost, so memory is at step 8 and the run at step 3.
    end = bench.run(replace(next_segment(segment, first), attempt=3))
    assert sum(each.note == "loading" for each in bench.seen) == 2
    assert second.step == 8
    assert same_tensors(blobs, end, whole(bench, segment))


def test_a_segment_ends_after_its_time(bench: Bench, blobs: BlobStore) -> None:
    segment = make_segment(blobs, segment_s=0.0)
    assert bench.run(segment).step == 1, "a step at least, or the run would never end"


def test_two_deliveries_of_a_segment_write_to_two_places(benches: MakeBench, blobs: BlobStore) -> None:
    segment = make_segment(blobs)
    first, second = (benches().run(segment, until=3) for _ in range(2))
    assert first.checkpoint is not None
    assert second.checkpoint is not None
    assert first.checkpoint.uri != second.checkpoint.uri
    assert first.losses != second.losses
    assert first.checkpoint.sha256 == second.checkpoint.sha256


def test_a_segment_stopped_before_its_first_step_has_no_checkpoint(bench: Bench, blobs: BlobStore) -> None:
    segment = make_segment(blobs)
    with pytest.raises(InterruptedWorkError):
        bench.run(segment, going=False)
    first = bench.run(segment, until=4)
    none = bench.run(next_segment(segment, first), going=False)
    assert (none.step, none.checkpoint, none.losses, none.failure) == (4, None, None, None)
    end = bench.run(replace(next_segment(segment, first), attempt=3))
    assert sum(each.note == "loading" for each in bench.seen) == 2, "the one that did nothing is still kept"
    assert same_tensors(blobs, end, whole(bench, segment))


def test_an_unwanted_segment_saves_nothing(bench: Bench, blobs: BlobStore) -> None:
    segment = make_segment(blobs)
    bench.wanted = False
    end = bench.run(segment, until=3)
    assert (end.step, end.checkpoint, end.losses) == (3, None, None)
    assert objects(blobs, segment, "") == []


def test_a_run_can_be_extended(bench: Bench, blobs: BlobStore) -> None:
    segment = make_segment(blobs)
    done = bench.run(segment)
    longer = next_segment(segment, done, config={**segment.config, "steps": 15})
    end = bench.run(longer)
    assert end.step == 15
    assert checkpoint_of(blobs, end).extensions == ((12, 12),)


def test_samples_are_stored_at_their_steps_and_change_nothing(bench: Bench, blobs: BlobStore) -> None:
    segment = make_segment(blobs, samples={"cat.png": soft_picture(50), "dog.png": soft_picture(51)}, sample_every=5)
    end = bench.run(segment)
    expected = [f"{stem}_{step:08d}.jpg" for stem in ("cat", "dog") for step in (5, 10, 12)]
    assert objects(blobs, segment, "samples/") == expected
    with Image.open(BytesIO(blobs.get(BlobUri.parse(f"{segment.place}samples/cat_00000012.jpg")))) as image:
        assert image.size == (64, 48)
    assert same_tensors(blobs, end, bench.run(replace(segment, samples=(), place=segment.place + "none/")))


def test_an_unusable_sample_is_reported_and_the_run_continues(
    bench: Bench, blobs: BlobStore, caplog: pytest.LogCaptureFixture
) -> None:
    segment = make_segment(blobs, samples={"cat.png": soft_picture(50), "text.png": b"no picture"}, sample_every=12)
    with caplog.at_level(logging.WARNING, "worker"):
        assert bench.run(segment).step == 12
    assert objects(blobs, segment, "samples/") == ["cat_00000012.jpg"]
    assert "text.png at step 12: " in caplog.text


def test_a_warning_names_samples_that_can_never_be_shown(bench: Bench, blobs: BlobStore) -> None:
    segment = make_segment(blobs, samples={"cat.png": soft_picture(50), "text.png": b"no picture"})
    gone = f"s3://{blobs.bucket}/{segment.run_id}/gone.png"
    end = bench.run(replace(segment, samples=(*segment.samples, gone)), until=1)
    assert end.photos is not None
    warning = str(end.photos.warning)
    assert warning.count("A sample cannot be shown: ") == 2
    assert "text.png: The data is not an image." in warning
    assert gone in warning
    assert "cat.png" not in warning


def test_held_out_photos_are_not_used_for_training(bench: Bench, blobs: BlobStore) -> None:
    end = bench.run(make_segment(blobs, held_out=2), until=1)
    assert end.photos is not None
    assert (end.photos.count, end.photos.held_out) == (4, 2)


def test_the_photos_held_out_are_usable_and_the_same_in_every_segment(
    benches: MakeBench, blobs: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: set[str] = set()
    read_photo = StoredPhotos.read

    def noted(self: StoredPhotos, name: str) -> bytes:
        read.add(name)
        return read_photo(self, name)

    bad = {f"{number}-bad.png": b"no picture" for number in range(30)}
    segment = make_segment(blobs, photos={**soft_pictures(), **bad}, held_out=2)
    first = benches().run(segment, until=1)
    held_out = split_names([*soft_pictures(), *bad], checkpoint_of(blobs, first).origin[HELD_OUT])[1]
    assert len(held_out) == 2
    assert set(held_out) <= soft_pictures().keys()
    # Another worker continues, when there are other photos: a choice among these would be another one.
    for number in range(40, 60):
        put(blobs, f"{segment.run_id}/photos/{number}.png", soft_picture(number))
    monkeypatch.setattr(StoredPhotos, "read", noted)
    end = benches().run(next_segment(segment, first, config=segment.config | {"steps": 60}))
    assert checkpoint_of(blobs, end).origin[HELD_OUT] == checkpoint_of(blobs, first).origin[HELD_OUT]
    assert read == {*soft_pictures(), *bad, *(f"{number}.png" for number in range(40, 60))} - set(held_out)
    assert end.photos is not None
    assert (end.photos.count, end.photos.held_out) == (54, 2)


def test_a_training_can_be_stopped_while_its_photos_are_chosen(bench: Bench, blobs: BlobStore) -> None:
    bad = {f"{number}.png": b"no picture" for number in range(30)}
    with pytest.raises(InterruptedWorkError):
        bench.run(make_segment(blobs, photos=bad, held_out=2), until=0)


def test_a_warning_says_that_fewer_photos_are_held_out_than_asked_for(benches: MakeBench, blobs: BlobStore) -> None:
    segment = make_segment(blobs, photos={**soft_pictures(5), "bad.png": b"no picture"}, held_out=16)
    first = benches().run(segment, until=1)
    for end in (first, benches().run(next_segment(segment, first), until=2)):
        assert end.photos is not None
        assert (end.photos.count, end.photos.held_out) == (4, 2)
        assert str(end.photos.warning).startswith("The training holds out only 2 of the 16 photos")
        assert "There are only" in str(end.photos.warning)


def test_a_training_needs_photos_besides_those_that_it_holds_out(benches: MakeBench, blobs: BlobStore) -> None:
    segment = make_segment(blobs, held_out=1)
    first = benches().run(segment, until=1)
    _, held_out = split_names(list(soft_pictures()), checkpoint_of(blobs, first).origin[HELD_OUT])
    for name in soft_pictures().keys() - set(held_out):
        blobs.delete(BlobUri.parse(segment.photos + name))
    with pytest.raises(ConfigError, match=r"All photos under .* are held out"):
        benches().run(next_segment(segment, first))


def poisoned(config: TrainConfig) -> TrainConfig:
    """Return a config whose losses become infinite at once."""
    return replace(config, learning_rate=10.0, content_weight=1e30, style_weights={"relu1_2": 1e30})


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"photos": {}}, ConfigError, "There are no photos"),
        ({"photos": {"a.png": b"x", "b.png": b""}}, ConfigError, "None of the 2 photos can be used"),
        ({"photos": {"a.png": b"x", "b.png": b""}, "held_out": 1}, ConfigError, "None of the 2 photos can be used"),
        ({"photos": {"a.png": b"x", **soft_pictures(1)}, "held_out": 1}, ConfigError, "Only 1 photo can be used"),
        ({"painting": StoredFile(uri="s3://nst/nowhere.png", sha256="0" * 64)}, BlobNotFoundError, "nowhere.png"),
        ({"config": replace(TINY, network="vgg99")}, ConfigError, "vgg99"),
        ({"config": poisoned(TINY)}, TrainingDivergedError, "not finite"),
        ({"checkpoint": StoredFile(uri="s3://nst/gone", sha256="0" * 64)}, BlobNotFoundError, "gone"),
        ({"initial": StoredFile(uri="s3://nst/gone", sha256="0" * 64)}, BlobNotFoundError, "gone"),
    ],
    ids=[
        *("no photos", "only bad photos", "none to hold out", "one to hold out"),
        *("no painting", "no network", "diverged", "no checkpoint", "no initial"),
    ],
)
def test_unusable_inputs_are_named_in_the_error_and_the_next_run_works(
    bench: Bench, blobs: BlobStore, changes: dict[str, Any], error: type[NstError], message: str
) -> None:
    segment = make_segment(blobs, **changes)
    with pytest.raises(error, match=message):
        bench.run(segment)
    assert objects(blobs, segment, "checkpoints/") == []
    assert bench.run(make_segment(blobs), until=1).step == 1


def test_a_training_that_is_not_continued_is_released(benches: MakeBench, blobs: BlobStore) -> None:
    bench = benches(keep_s=0.0)
    segment = make_segment(blobs)
    before = threading.active_count()
    first = bench.run(segment, until=1)
    wait_until(lambda: threading.active_count() <= before)  # no photo readers and no timer are left
    bench.run(next_segment(segment, first), until=2)
    assert sum(each.note == "loading" for each in bench.seen) == 2


def test_another_run_does_not_evict_the_training_in_memory(bench: Bench, blobs: BlobStore) -> None:
    segment = make_segment(blobs)
    first = bench.run(segment, until=1)
    bench.run(make_segment(blobs), until=1)
    end = bench.run(next_segment(segment, first))
    assert sum(each.note == "loading" for each in bench.seen) == 2
    assert same_tensors(blobs, end, whole(bench, segment))


def test_photos_are_downloaded_once(bench: Bench, blobs: BlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[str] = []
    get = BlobStore.get

    def noted(self: BlobStore, uri: BlobUri, *, max_bytes: int | None = None) -> bytes:
        fetched.append(str(uri))
        return get(self, uri, max_bytes=max_bytes)

    monkeypatch.setattr(BlobStore, "get", noted)
    segment = make_segment(blobs)
    photos = {segment.photos + name for name in soft_pictures()}
    first = bench.run(segment)
    assert photos <= set(fetched)
    fetched.clear()
    again = bench.run(replace(segment, run_id=segment.run_id + "b", place=segment.place + "b/"))
    assert not photos & set(fetched)
    assert same_tensors(blobs, first, again)


def test_large_photos_are_stored_reduced_and_give_the_same_crops(bench: Bench, blobs: BlobStore) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    out = BytesIO()
    Image.fromarray(noise).save(out, "JPEG", quality=95)
    end = bench.run(make_segment(blobs, photos={"large.jpg": out.getvalue()}), until=4)
    kept = [path.stat().st_size for path in bench.folder.glob("photos-*/*")]
    assert len(kept) == 1
    assert kept[0] < len(out.getvalue()) / 2
    assert end.photos is not None
    assert end.photos.skipped == 0
