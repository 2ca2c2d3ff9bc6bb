"""Sizes of chunks, and the order in which jobs are sent."""

from dataclasses import replace

import pytest

from nst_core.protocol.chunks import StyleRef, StylizeOptions
from scheduler.domain.jobs import JobInput, JobOutput, JobSpec, Priority
from scheduler.jobs.dispatcher import Hands
from scheduler.jobs.item_times import chunk_size, px_class
from scheduler.store.chunks import Share
from scheduler.store.jobs import Waiting


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


@pytest.mark.parametrize(("max_px", "expected"), [(None, 0), (16, 16), (512, 512), (513, 1024), (1600, 2048)])
def test_sizes_of_pictures_are_classed_by_powers_of_two(max_px: int | None, expected: int) -> None:
    spec = JobSpec(
        input=JobInput(prefix="s3://b/"),
        output=JobOutput(prefix="s3://b/out/"),
        styles=(StyleRef(name="wave", version="v"),),
        options=StylizeOptions(max_px=max_px),
    )
    assert px_class(spec) == expected
    config = {"size_px": max_px} if max_px else {}
    details = {"paintings": ["s3://b/p.jpg"], "preset": "p", "config": config, "preview_every": 0}
    assert px_class(replace(spec, method="optimize", details=details)) == expected


def waiting(id: str, tenant: str = "a", priority: Priority = Priority.NORMAL) -> Waiting:
    return Waiting(id=id, tenant=tenant, method="feedforward", priority=priority)


def share(id: str, tenant: str, chunks: int) -> Share:
    return Share(job_id=id, tenant=tenant, method="feedforward", priority=Priority.NORMAL, chunks=chunks)


def order(hands: Hands, jobs: list[Waiting], count: int) -> str:
    """Return the ids of the jobs that are next, one after the other."""
    taken = []
    for _ in range(count):
        job = hands.next(jobs)
        hands.add(job)
        taken.append(job.id)
    return "".join(taken)


def test_jobs_of_one_priority_take_turns() -> None:
    assert order(Hands([], {}), [waiting("1"), waiting("2")], 4) == "1212"


def test_job_that_has_more_in_hand_waits() -> None:
    assert order(Hands([share("1", "a", 2)], {}), [waiting("1"), waiting("2")], 4) == "2212"


def test_higher_priority_comes_first_within_its_tenant_alone() -> None:
    jobs = [waiting("1"), waiting("2", priority=Priority.HIGH), waiting("3", "b", Priority.LOW)]
    assert order(Hands([], {}), jobs, 4) == "2323"


def test_many_jobs_of_one_tenant_count_as_one_tenant() -> None:
    jobs = [*(waiting(str(number)) for number in range(1, 8)), waiting("9", "b")]
    assert order(Hands([], {}), jobs, 6).count("9") == 3


def test_weights_divide_the_workers() -> None:
    jobs = [waiting("1"), waiting("2", "b")]
    taken = order(Hands([], {"b": 3.0}), jobs, 40)
    assert taken.count("2") == 30
    assert order(Hands([], {"a": 0.0}), jobs, 40).count("1") == 1, "not even a weight of 0 is for ever"


def test_chunks_in_hand_of_jobs_that_wait_for_nothing_count_too() -> None:
    jobs = [waiting("1"), waiting("2", "b")]
    assert order(Hands([share("gone", "a", 3)], {}), jobs, 4) == "2221"


@pytest.mark.parametrize(
    ("in_hand", "job", "ahead"),
    [
        ([], waiting("1"), True),
        ([share("2", "b", 1)], waiting("1"), True),
        ([share("1", "a", 1), share("2", "b", 2)], waiting("1"), True),
        ([share("1", "a", 2), share("2", "b", 2)], waiting("1"), False),
        ([share("1", "a", 3), share("2", "b", 2)], waiting("1"), False),
        ([share("2", "a", 3)], waiting("1"), True),
        ([share("1", "a", 1)], waiting("1"), False),
        ([share("2", "a", 3)], waiting("1", priority=Priority.LOW), False),
        ([share("2", "a", 3)], waiting("1", priority=Priority.HIGH), True),
    ],
)
def test_who_has_less_in_hand_goes_ahead_of_the_queue(in_hand: list[Share], job: Waiting, ahead: bool) -> None:
    assert Hands(in_hand, {}).is_ahead(job) is ahead


def test_weights_decide_what_is_less_in_hand() -> None:
    shares = [share("1", "a", 3), share("2", "b", 2)]
    assert Hands(shares, {"a": 2.0}).is_ahead(waiting("1"))
    assert not Hands(shares, {"a": 2.0}).is_ahead(waiting("2", "b"))
