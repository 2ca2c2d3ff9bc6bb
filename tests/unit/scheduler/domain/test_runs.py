"""Tests of scheduler.domain.runs, and of how runs go on when a segment is over."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nst_core.protocol.segments import Phase, StoredFile, TrainSegment, losses_uri, segment_checkpoint_uri
from nst_core.storage.blobs import BlobUri
from nst_core.training.config import TrainConfig
from scheduler.access.places import Permissions
from scheduler.domain.addresses import is_scratch
from scheduler.domain.runs import (
    KEPT_EVERY_STEPS,
    KEPT_NEWEST,
    Parent,
    Run,
    RunSpec,
    RunStatus,
    Segment,
    SegmentState,
    Stop,
    attempt_of,
    not_kept,
    place_key,
)
from scheduler.runs.cards import make_card, method_line
from scheduler.runs.ends import MAX_BACKOFF_S, Retries, at_checkpoint, failed, released

FILE = StoredFile(uri="s3://nst/a", sha256="a" * 64)
SPEC = RunSpec(
    painting=FILE,
    painting_source="night.jpg",
    photos="s3://nst/photos/",
    photo_count=200,
    held_out=16,
    preset="standard",
    stroke=1.0,
    strength=1.0,
    config=TrainConfig(steps=100).to_dict(),
)
RUN = Run(
    id="run_1",
    tenant="default",
    name="night",
    status=RunStatus.RUNNING,
    spec=SPEC,
    step=40,
    steps=100,
    attempt=3,
    live=SegmentState.RUNNING,
    phase=Phase.TRAIN,
    claimed_at=1.0,
    lease_until=100.0,
    not_before=0.0,
    failures=0,
    worker="w1",
    progress={"step": 60, "losses": {"total": 1.0}, "steps_per_s": 2.0, "note": "compiling"},
    photos=None,
    config=None,
    checkpoint=FILE,
    result=None,
    version=None,
    stop=Stop.NONE,
    error_code=None,
    error_message=None,
    created_at=0.0,
    started_at=1.0,
    finished_at=None,
    train_seconds=0.0,
    untidy=False,
)


def segment(attempt: int, to_step: int) -> Segment:
    return Segment(
        attempt=attempt,
        phase=Phase.TRAIN,
        from_step=0,
        to_step=to_step,
        worker="w",
        seconds=1.0,
        checkpoint=FILE,
        losses=None,
        finished_at=0.0,
    )


def test_only_ended_runs_are_terminal() -> None:
    ended = {RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.CANCELLED}
    assert {status for status in RunStatus if status.is_terminal} == ended


@given(st.lists(st.integers(1, 400), min_size=1, max_size=40))
def test_checkpoints_are_kept_by_rule_whatever_was_pruned_before(gaps: list[int]) -> None:
    every, reached = [], 0
    for number, gap in enumerate(gaps, 1):
        reached += gap
        every.append(segment(number, reached))
    stepwise: list[Segment] = []
    for each in every:
        stepwise.append(each)
        dropped = {old.attempt for old in not_kept(stepwise)}
        stepwise = [old for old in stepwise if old.attempt not in dropped]
    dropped = {each.attempt for each in not_kept(every)}
    kept = [each for each in every if each.attempt not in dropped]
    assert kept == stepwise
    assert kept[-KEPT_NEWEST:] == every[-KEPT_NEWEST:]
    for multiple in range(KEPT_EVERY_STEPS, reached + 1, KEPT_EVERY_STEPS):
        first = next(each for each in every if each.to_step >= multiple)
        assert first in kept


def test_an_object_tells_its_attempt_by_the_name_that_workers_give_it() -> None:
    message = TrainSegment(
        run_id="run_1", attempt=17, config={}, painting=FILE, photos="s3://nst/", place="s3://nst/p/"
    )
    checkpoint = segment_checkpoint_uri(message, step=1234567, nonce="ab12")
    assert attempt_of(checkpoint.removeprefix("s3://nst/p/checkpoints/")) == 17
    assert attempt_of(losses_uri(message, nonce="ab12").removeprefix("s3://nst/p/losses/")) == 17


@pytest.mark.parametrize("name", ["", "notes.txt", "a-b.csv", "1.csv", "-1.csv", "1-2-3-4.csv", "a-²-n.csv", "a-b-c"])
def test_what_workers_did_not_write_is_of_no_attempt(name: str) -> None:
    assert attempt_of(name) is None


def test_the_place_of_a_run_is_neither_read_nor_written_by_jobs() -> None:
    key = place_key("default", "run_1") + "painting.jpg"
    assert is_scratch(key)
    places = Permissions(tenant="default", shared="nst", buckets=frozenset({"nst"}))
    assert not places.may_write(BlobUri("nst", key))


def test_the_next_phase_follows_from_the_steps_of_the_last_checkpoint() -> None:
    assert RUN.next_phase is Phase.TRAIN
    assert replace(RUN, step=100).next_phase is Phase.EVALUATE
    assert replace(RUN, step=100, steps=200).next_phase is Phase.TRAIN
    assert replace(RUN, step=0, steps=0, checkpoint=None).next_phase is Phase.TRAIN


def test_a_released_run_is_live_no_more() -> None:
    values = released(RUN, now=5.0, status=RunStatus.EVALUATING)
    assert values["live"] is SegmentState.NONE
    assert values["lease_until"] is None
    assert values["status"] is RunStatus.EVALUATING


@pytest.mark.parametrize(
    ("stop", "status", "finished_at"), [(Stop.PAUSE, RunStatus.PAUSED, None), (Stop.CANCEL, RunStatus.CANCELLED, 5.0)]
)
def test_what_a_client_wants_wins(stop: Stop, status: RunStatus, finished_at: float | None) -> None:
    run = replace(RUN, stop=stop)
    ends = [
        released(run, now=5.0, status=RunStatus.EVALUATING),
        failed(run, code="c", message="m", retryable=False, now=5.0, retries=Retries()),
    ]
    for values in ends:
        assert (values["status"], values["finished_at"], values["stop"]) == (status, finished_at, Stop.NONE)


def test_the_pause_before_a_retry_has_a_longest() -> None:
    run = replace(RUN, failures=500)
    values = failed(run, code="c", message="m", retryable=True, now=5.0, retries=Retries(max_failures=10**6))
    assert values["not_before"] == 5.0 + MAX_BACKOFF_S
    assert "status" not in values


def test_what_a_worker_says_of_its_failure_fits_its_columns() -> None:
    values = failed(RUN, code="c" * 1000, message="m" * 10**6, retryable=True, now=5.0, retries=Retries())
    assert len(values["error_code"] or "") == 64
    assert len(values["error_message"] or "") == 2000


def test_lost_steps_are_no_progress() -> None:
    assert at_checkpoint(RUN) == {"step": 40, "losses": {"total": 1.0}, "steps_per_s": 2.0, "note": ""}
    assert at_checkpoint(replace(RUN, progress=None)) is None


def test_a_card_says_what_the_client_knows_and_what_the_run_knows() -> None:
    spec = replace(
        SPEC,
        about={"title": "Night", "steps": 7},
        initial=FILE,
        initial_name="great_wave@aaaaaaaa",
        parent=Parent(run="run_0", step=30),
    )
    run = replace(
        RUN,
        spec=spec,
        step=100,
        config=TrainConfig(steps=100, network="vgg19").to_dict(),
        photos={"count": 184, "held_out": 16, "skipped": 2, "reasons": {"a.jpg": "damaged"}, "warning": None},
        result={"evaluation": {"ssim": 0.5}},
    )
    card = make_card(run, final_losses={"total": 1.0})
    assert (card["title"], card["steps"], card["run"]) == ("Night", 100, "run_1")
    assert card["evaluation"] == {"ssim": 0.5}
    assert card["final_losses"] == {"total": 1.0}
    assert card["training"]["network"] == "vgg19"
    assert "VGG19" in card["method"]
    assert card["parent"] == {"run": "run_0", "step": 30}
    assert card["made_from"]["photos"] == {"count": 184, "held_out": 16, "skipped": 2}
    assert card["made_from"]["initial_sha256"] == FILE.sha256


def test_the_method_line_names_network_and_normalisation() -> None:
    line = method_line(TrainConfig().to_dict())
    assert line.endswith("with instance normalisation; VGG16 loss network")
