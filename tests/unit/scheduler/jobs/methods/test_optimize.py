"""Tests of scheduler.jobs.methods.optimize."""

from nst_core.client.resources.jobs import JobInput
from nst_core.client.resources.methods import Optimize as OptimizeOptions
from nst_core.protocol.chunks import ChunkMessage, OptimizeChunk, StylizeOptions
from scheduler.domain.jobs import JobOutput, JobSpec
from scheduler.jobs.methods.base import Source
from scheduler.jobs.methods.optimize import Optimize, resolve

METHOD = Optimize()
PAINTINGS = ["s3://nst/night.png", "s3://nst/day.png"]
RESOLVED = resolve(PAINTINGS, OptimizeOptions(options={"size_px": 300}, preview_every=7))
SPEC = JobSpec(
    input=JobInput(prefix="s3://nst/in/"),
    output=JobOutput(prefix="s3://nst/out/"),
    styles=RESOLVED.styles,
    options=StylizeOptions(quality=80),
    method=METHOD.name,
    details=dict(RESOLVED.details),
    max_attempts=3,
)
NIGHT, DAY = RESOLVED.styles


def test_a_style_stands_for_a_painting() -> None:
    assert (NIGHT.name, DAY.name) == ("night", "day")
    assert NIGHT.version != DAY.version
    assert METHOD.report(SPEC, DAY) == {"painting": PAINTINGS[1], "preset": "gatys2016"}
    assert METHOD.sources(SPEC) == [
        Source(styles=("night",), uri=PAINTINGS[0], pointer="/paintings/0"),
        Source(styles=("day",), uri=PAINTINGS[1], pointer="/paintings/1"),
    ]


def test_the_message_has_the_painting_and_the_options() -> None:
    head = ChunkMessage(job_id="j", chunk_id=1, attempt=2, items=(), alone=True)
    message = METHOD.message(head, SPEC, DAY, scratch="s3://nst/scratch/")
    assert message == OptimizeChunk(
        job_id="j",
        chunk_id=1,
        attempt=2,
        items=(),
        alone=True,
        painting=PAINTINGS[1],
        config=SPEC.details["config"],
        scratch="s3://nst/scratch/",
        preview_every=7,
        quality=80,
    )
    assert METHOD.longest_side_px(SPEC) == 300


def test_the_api_shows_paintings_and_options_in_fields_of_their_own() -> None:
    shown = METHOD.shown(SPEC)
    assert shown["paintings"] == PAINTINGS
    assert shown["optimize"] == {"preset": "gatys2016", "config": SPEC.details["config"], "preview_every": 7}
    assert SPEC.details["paintings"] == PAINTINGS, "unchanged"
