"""Tests of worker.methods.stylize.image."""

from threading import Semaphore

import pytest

from nst_core.metrics import Stage
from nst_core.protocol.chunks import ChunkItem, StyleRef, StylizeChunk, StylizeOptions
from worker.methods.stylize.image import Image, Run
from worker.methods.stylize.masks import Weights
from worker.methods.stylize.place import Place, Traffic
from worker.runtime.outcomes import InterruptedWorkError, Stopwatch

ITEM = ChunkItem(index=0, input="s3://b/a.jpg", output="s3://b/a.png")


class Clock:
    """A clock that a test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def make_run(*, going: bool = True) -> Run:
    chunk = StylizeChunk(
        job_id="j",
        chunk_id=1,
        attempt=1,
        items=(ITEM,),
        style=StyleRef(name="wave", version="ab" * 32),
        options=StylizeOptions(),
    )
    return Run(
        chunk=chunk,
        networks=(),
        going=lambda: going,
        outdated=lambda: False,
        place=Place(0, touch=lambda: None, traffic=Traffic()),
        decoding=Semaphore(),
        max_pixels=100,
        weights=Weights(photo=None, regions=()),
    )


def test_a_stage_is_measured_without_the_waits_in_it() -> None:
    clock, seen = Clock(), list[tuple[Stage, float]]()
    image = Image(
        run=make_run(),
        item=ITEM,
        observe=lambda stage, seconds: seen.append((stage, seconds)),
        clock=clock,
        watch=Stopwatch(clock),
    )
    with image.stage(Stage.FETCH) as waits:
        clock.now += 2.0
        with waits:
            clock.now += 5.0
        clock.now += 1.0
    assert seen == [(Stage.FETCH, 3.0)]
    assert image.watch.seconds == 3.0


def test_no_image_begins_after_the_end() -> None:
    make_run().check()
    with pytest.raises(InterruptedWorkError):
        make_run(going=False).check()
