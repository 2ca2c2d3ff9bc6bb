"""Tests of scheduler.jobs.fair_share."""

import pytest

from nst_core.client.resources.jobs import Priority
from scheduler.jobs.fair_share import FairShare
from scheduler.store.chunks import Share
from scheduler.store.jobs import Waiting


def waiting(id: str, tenant: str = "a", priority: Priority = Priority.NORMAL) -> Waiting:
    return Waiting(id=id, tenant=tenant, method="feedforward", priority=priority)


def share(id: str, tenant: str, chunks: int) -> Share:
    return Share(job_id=id, tenant=tenant, method="feedforward", priority=Priority.NORMAL, chunks=chunks)


def order(fair: FairShare, jobs: list[Waiting], count: int) -> str:
    """Return the ids of the jobs that are next, one after the other."""
    taken = []
    for _ in range(count):
        job = fair.next(jobs)
        fair.add(job)
        taken.append(job.id)
    return "".join(taken)


def test_jobs_of_one_priority_take_turns() -> None:
    assert order(FairShare([], {}), [waiting("1"), waiting("2")], 4) == "1212"


def test_job_that_has_more_in_hand_waits() -> None:
    assert order(FairShare([share("1", "a", 2)], {}), [waiting("1"), waiting("2")], 4) == "2212"


def test_higher_priority_comes_first_within_its_tenant_alone() -> None:
    jobs = [waiting("1"), waiting("2", priority=Priority.HIGH), waiting("3", "b", Priority.LOW)]
    assert order(FairShare([], {}), jobs, 4) == "2323"


def test_many_jobs_of_one_tenant_count_as_one_tenant() -> None:
    jobs = [*(waiting(str(number)) for number in range(1, 8)), waiting("9", "b")]
    assert order(FairShare([], {}), jobs, 6).count("9") == 3


def test_weights_divide_the_workers() -> None:
    jobs = [waiting("1"), waiting("2", "b")]
    taken = order(FairShare([], {"b": 3.0}), jobs, 40)
    assert taken.count("2") == 30
    assert order(FairShare([], {"a": 0.0}), jobs, 40).count("1") == 1, "not even a weight of 0 is for ever"


def test_chunks_in_hand_of_jobs_that_wait_for_nothing_count_too() -> None:
    jobs = [waiting("1"), waiting("2", "b")]
    assert order(FairShare([share("gone", "a", 3)], {}), jobs, 4) == "2221"


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
    assert FairShare(in_hand, {}).is_ahead(job) is ahead


def test_weights_decide_what_is_less_in_hand() -> None:
    shares = [share("1", "a", 3), share("2", "b", 2)]
    assert FairShare(shares, {"a": 2.0}).is_ahead(waiting("1"))
    assert not FairShare(shares, {"a": 2.0}).is_ahead(waiting("2", "b"))
