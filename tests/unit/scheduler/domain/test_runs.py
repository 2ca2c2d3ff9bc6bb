"""Tests of scheduler.domain.runs."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nst_core.client.resources.runs import RunStatus
from nst_core.protocol.segments import Phase, TrainSegment, losses_uri, result_uri, segment_checkpoint_uri
from nst_core.storage.blobs import BlobUri
from scheduler.access.places import Permissions
from scheduler.domain.addresses import is_scratch
from scheduler.domain.runs import KEPT_EVERY_STEPS, KEPT_NEWEST, Segment, attempt_of, not_kept, place_key
from tests.unit.scheduler.runs.samples import FILE, RUN


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
    for suffix in ("safetensors", "jpg"):
        result = result_uri(message, nonce="ab12", suffix=suffix)
        assert attempt_of(result.removeprefix("s3://nst/p/result/")) == 17


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
