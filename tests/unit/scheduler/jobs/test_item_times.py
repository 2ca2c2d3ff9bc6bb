"""Tests of scheduler.jobs.item_times."""

from dataclasses import replace

import pytest

from nst_core.client.resources.jobs import JobInput, Stroke
from nst_core.protocol.chunks import Region, StyleRef, StylizeOptions
from scheduler.domain.jobs import JobOutput, JobSpec
from scheduler.domain.looks import Look
from scheduler.jobs.item_times import chunk_size, pace, passes, px_class, stroke_class


@pytest.mark.parametrize(
    ("mean_ms", "items", "workers", "size"),
    [
        (None, None, 0, 16),
        (None, None, 50, 16),
        (None, 8, 2, 2),
        (None, 9, 2, 3),
        (None, 3, 8, 1),
        (None, 1, 0, 16),
        (1000.0, None, 4, 60),
        (1000.0, 10_000, 4, 60),
        (1000.0, 100, 4, 13),
        (10.0, None, 4, 1000),
        (0.0, None, 4, 1000),
        (600_000.0, None, 4, 1),
    ],
)
def test_chunk_is_a_minute_of_work_in_enough_pieces_for_all(
    mean_ms: float | None, items: int | None, workers: int, size: int
) -> None:
    assert chunk_size(mean_ms, target_ms=60_000, first_guess=16, items=items, workers=workers) == size


def spec_of(options: StylizeOptions) -> JobSpec:
    """Return a job with these options."""
    return JobSpec(
        input=JobInput(prefix="s3://b/"),
        output=JobOutput(prefix="s3://b/out/"),
        styles=(StyleRef(name="wave", version="v"),),
        options=options,
        max_attempts=3,
    )


def test_the_strokes_of_a_job_are_those_of_each_style() -> None:
    wave, udnie = (StyleRef(name=name, version=name) for name in ("wave", "udnie"))
    spec = replace(spec_of(StylizeOptions(upscale=4)), styles=(wave, udnie), looks={"wave": Look(stroke="varied")})
    assert [pace(spec, style).stroke for style in spec.styles] == ["varied/4", "1/4"]
    spec = replace(spec, options=StylizeOptions(stroke="auto"))
    assert [pace(spec, style).stroke for style in spec.styles] == ["auto", "auto"]


@pytest.mark.parametrize(("max_px", "expected"), [(None, 0), (16, 16), (512, 512), (513, 1024), (1600, 2048)])
def test_sizes_of_pictures_are_classed_by_powers_of_two(max_px: int | None, expected: int) -> None:
    spec = spec_of(StylizeOptions(max_px=max_px))
    assert px_class(spec) == expected
    config = {"size_px": max_px} if max_px else {}
    details = {"paintings": ["s3://b/p.jpg"], "preset": "p", "config": config, "preview_every": 0}
    assert px_class(replace(spec, method="optimize", details=details)) == expected


@pytest.mark.parametrize(
    ("stroke", "expected"),
    [
        (None, "1"),
        (1.0, "1"),
        (0.5, "0.5"),
        (0.6, "1"),
        (1.1, "2"),
        (2.0, "2"),
        (2.5, "4"),
        (4.0, "4"),
        ("auto", "auto"),
        ("varied", "varied"),
    ],
)
def test_strokes_are_classed_by_powers_of_two(stroke: Stroke | None, expected: str) -> None:
    assert stroke_class(StylizeOptions(stroke=stroke)) == expected


def test_enlarged_results_are_classes_of_their_own() -> None:
    classes = {
        stroke_class(StylizeOptions(stroke=stroke, upscale=upscale))
        for stroke in (None, "auto")
        for upscale in (1, 2, 4)
    }
    assert classes == {"1", "1/2", "1/4", "auto", "auto/2", "auto/4"}


def test_each_region_is_a_pass_more() -> None:
    style = StyleRef(name="udnie", version="v")
    assert passes(spec_of(StylizeOptions())) == 1
    assert passes(spec_of(StylizeOptions(regions=(Region(style=style), Region(style=style))))) == 3
