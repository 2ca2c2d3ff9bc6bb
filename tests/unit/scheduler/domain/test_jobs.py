"""Tests of scheduler.domain.jobs."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nst_core.client.resources.jobs import Counts, JobInput, JobStatus, StopReason
from nst_core.errors import ConfigError
from nst_core.protocol.chunks import StyleRef, StylizeOptions
from scheduler.domain.addresses import check_key, is_scratch, scratch_key
from scheduler.domain.jobs import ChunkStatus, Job, JobOutput, JobSpec, final_status
from scheduler.domain.looks import Look
from scheduler.domain.naming import check_name_template, output_key, output_suffix, style_of_painting

JOB = Job(
    id="job_1",
    tenant="default",
    status=JobStatus.FINALIZING,
    spec=JobSpec(
        input=JobInput(prefix="s3://nst/in/"),
        output=JobOutput(prefix="s3://nst/out/"),
        styles=(StyleRef(name="wave", version="v"),),
        options=StylizeOptions(),
        max_attempts=3,
    ),
    counts=Counts(),
    created_at=0.0,
    started_at=None,
    finished_at=None,
    error_code=None,
    error_message=None,
    planned_inputs=0,
    planned_key="",
    stop=None,
)


@pytest.mark.parametrize(
    ("options", "stroke", "faces"),
    [
        ({}, "varied", "protect"),
        ({"stroke": 2.0}, 2.0, "protect"),
        ({"forms": "planes", "faces": "paint"}, "varied", "paint"),
    ],
)
def test_the_look_of_a_style_decides_what_the_job_leaves_to_it(
    options: dict[str, Any], stroke: Any, faces: Any
) -> None:
    wanted = StylizeOptions(strength=0.5, **options)
    udnie, wave = (StyleRef(name=name, version="v") for name in ("udnie", "wave"))
    spec = replace(JOB.spec, options=wanted, looks={"udnie": Look(stroke="varied", forms="planes", faces="protect")})
    assert spec.options_of(udnie) == replace(wanted, stroke=stroke, forms="planes", faces=faces)
    assert spec.options_of(wave) == replace(wanted, faces=wanted.faces or "paint")


@pytest.mark.parametrize(
    ("counts", "changes", "status"),
    [
        (Counts(total=2, succeeded=2), {}, JobStatus.SUCCEEDED),
        (Counts(total=2, succeeded=1, failed=1), {}, JobStatus.PARTIALLY_SUCCEEDED),
        (Counts(total=2, failed=2), {}, JobStatus.FAILED),
        (Counts(), {}, JobStatus.FAILED),
        (Counts(total=2, succeeded=2), {"error_code": "blob_unavailable"}, JobStatus.PARTIALLY_SUCCEEDED),
        (Counts(total=2, succeeded=1, cancelled=1), {"stop": StopReason.CANCEL}, JobStatus.CANCELLED),
        (Counts(), {"stop": StopReason.CANCEL}, JobStatus.CANCELLED),
        (Counts(total=2, succeeded=1, cancelled=1), {"stop": StopReason.DEADLINE}, JobStatus.EXPIRED),
        (Counts(total=3, succeeded=1, failed=2), {"stop": StopReason.MAX_FAILURES}, JobStatus.FAILED),
        (Counts(total=2, succeeded=1, cancelled=1), {}, JobStatus.PARTIALLY_SUCCEEDED),
    ],
)
def test_job_ends_as_its_items_say(counts: Counts, changes: dict[str, object], status: JobStatus) -> None:
    assert final_status(replace(JOB, counts=counts, **changes)) is status  # type: ignore[arg-type]
    assert status.is_terminal


def test_only_ended_jobs_are_terminal() -> None:
    going = {JobStatus.QUEUED, JobStatus.PLANNING, JobStatus.RUNNING, JobStatus.PAUSED, JobStatus.CANCELLING}
    going.add(JobStatus.FINALIZING)
    assert {status for status in JobStatus if not status.is_terminal} == going
    assert len(ChunkStatus) == 4


@pytest.mark.parametrize("template", ["{stem}.{ext}", "{style}/{index}_{stem}.{ext}", "a b/ü.{ext}"])
def test_template_of_known_placeholders_is_accepted(template: str) -> None:
    check_name_template(template)


@pytest.mark.parametrize(
    "template",
    [
        "",
        "{stem}",
        "{stem}.jpg",
        "{stem!r}.{ext}",
        "{0}.{ext}",
        "{stem.x}.{ext}",
        "{a}.{ext}",
        "{{stem}}.{ext}",
        "../{stem}.{ext}",
        "a//{stem}.{ext}",
        "/{stem}.{ext}",
        "a\\b.{ext}",
        "a\n.{ext}",
        "x" * 1025 + ".{ext}",
        "ä" * 128 + "/{stem}.{ext}",
    ],
)
def test_any_other_template_is_refused(template: str) -> None:
    with pytest.raises(ConfigError):
        check_name_template(template)


@given(st.text(max_size=40))
def test_key_that_is_accepted_never_leaves_its_prefix(key: str) -> None:
    try:
        check_key(key)
    except ConfigError:
        return
    parts = key.split("/")
    assert all(part not in ("", ".", "..") for part in parts)
    assert key.isprintable() or not any(ord(char) < 32 for char in key)


def test_output_is_named_by_its_template() -> None:
    name = output_key("{style}/{index}-{stem}.{ext}", input_key="a/b.c.jpg", index=7, style="wave", suffix="png")
    assert name == "wave/000007-b.c.png"


def test_the_style_of_a_painting_is_called_after_its_file() -> None:
    assert style_of_painting("s3://nst/up/starry night.v2.png") == "starry night.v2"
    assert style_of_painting(f"s3://nst/up/{'x' * 70}.png") == "x" * 64


def test_a_stem_that_looks_like_a_placeholder_stays_as_it_is() -> None:
    name = output_key("{stem}.{ext}", input_key="{style}.jpg", index=0, style="wave", suffix="jpg")
    assert name == "{style}.jpg"


@pytest.mark.parametrize(
    ("key", "format", "suffix"),
    [
        ("a.JPG", "keep", "jpg"),
        ("a.jpeg", "keep", "jpg"),
        ("a.png", "keep", "png"),
        ("a.webp", "keep", "webp"),
        ("a.tiff", "keep", "png"),
        ("a", "keep", "png"),
        ("a.png", "jpeg", "jpg"),
        ("a.jpg", "webp", "webp"),
    ],
)
def test_format_is_kept_where_it_can_be(key: str, format: str, suffix: str) -> None:
    assert output_suffix(key, format) == suffix


def test_previews_and_checkpoints_have_a_place_that_is_no_result_and_no_photo() -> None:
    assert is_scratch(scratch_key("default", "job_1") + "previews/0.jpg")
    assert not is_scratch("tenants/default/jobs/job_1/scratch/0.jpg")
    assert not is_scratch("scratch/0.jpg")
