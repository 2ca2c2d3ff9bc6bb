"""The table of a hostile run: one line per guarantee, with what broke it."""

import statistics
from dataclasses import dataclass, field
from typing import Any

from tests.hostile.phases import Result


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limits of the guarantees."""

    gap_s: float
    worker_mb: float
    scheduler_mb: float
    ratio: float


@dataclass
class Measured:
    """The measurements of a run."""

    #: Seconds of good jobs, alone and during valid photos of the other tenant.
    alone_s: float = 0.0
    plain_s: float = 0.0
    #: Seconds of good jobs by phase.
    beside: dict[str, list[float]] = field(default_factory=dict)
    results: list[Result] = field(default_factory=list)
    #: The results of the watcher: the fields of `tests.hostile.watch.Seen`.
    seen: dict[str, Any] = field(default_factory=dict)
    deaths: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Promise:
    """A guarantee, whether it was kept, and the evidence."""

    text: str
    kept: bool
    shown: str


def promises(measured: Measured, limits: Limits) -> list[Promise]:
    """Return all guarantees with their results."""
    seen, memory = measured.seen, measured.seen["memory_mb"]
    heartbeat = max(seen["heartbeat_gap_s"].values(), default=0.0)
    gaps = {"/livez": seen["livez_gap_s"], "a worker with a chunk": seen["worker_gap_s"], "heartbeat files": heartbeat}
    beside = {name: statistics.median(times) for name, times in measured.beside.items() if times}
    worst = max(beside, key=beside.__getitem__, default="nothing")
    median = beside.get(worst, 0.0)
    ratio = median / measured.plain_s if measured.plain_s else 0.0
    worker = memory.get("worker", 0.0) + memory.get("worker children", 0.0)
    unended = [problem for result in measured.results if result.answers is None for problem in result.problems]
    answers = [result.answers for result in measured.results if result.answers is not None]
    broken = [each for answer in answers for each in answer.broken]
    silent = [each for answer in answers for each in answer.silent]
    slow = ", ".join(f"{name} {gap:.2f} s" for name, gap in gaps.items())
    return [
        Promise(
            f"no process is silent for more than {limits.gap_s:g} s",
            max(gaps.values()) <= limits.gap_s and bool(seen["livez_answers"] and seen["events"]),
            slow,
        ),
        Promise(
            f"a worker with its children has at most {limits.worker_mb:,.0f} MB",
            worker <= limits.worker_mb,
            f"{memory.get('worker', 0.0):,.0f} MB and {memory.get('worker children', 0.0):,.0f} MB",
        ),
        Promise(
            f"the scheduler has at most {limits.scheduler_mb:,.0f} MB",
            memory.get("scheduler", 0.0) <= limits.scheduler_mb,
            f"{memory.get('scheduler', 0.0):,.0f} MB, its children {memory.get('scheduler children', 0.0):,.0f} MB",
        ),
        Promise("no answer is 500 or above", not broken, f"{len(broken)} are"),
        Promise("every whole request is answered", not silent, f"{len(silent)} are not"),
        Promise(
            f"good jobs take at most {limits.ratio:g} times their time beside sound photos",
            ratio <= limits.ratio,
            f"alone {measured.alone_s:.2f} s, beside sound photos {measured.plain_s:.2f} s, beside {worst} "
            f"{median:.2f} s (the worst median): {ratio:.2f}",
        ),
        Promise("everything hostile ends, with a stable code", not unended, f"{len(unended)} did not"),
        Promise("no process died", not measured.deaths, f"{len(measured.deaths)} deaths"),
    ]


def print_report(measured: Measured, limits: Limits, *, shown: int) -> int:
    """Print the table, and return 1 if a guarantee was broken."""
    for result in measured.results:
        ends = ", ".join(f"{code} {number:,}" for code, number in result.ends.most_common())
        times = measured.beside.get(result.name, [])
        good = f"good jobs beside: {len(times)}"
        good += f", median {statistics.median(times):.2f} s, longest {max(times):.2f} s" if times else ""
        print(f"\n{result.name}: {result.sent:,} sent; {ends}\n  {good}")
        if result.answers is not None:
            answers = result.answers
            print(f"  largest answer {answers.largest_bytes:,} bytes: {answers.largest}")
            print(f"  slowest answer {answers.slowest_s:.2f} s: {answers.slowest}")
        for problem in result.problems[:shown]:
            print(f"  ! {problem}")
        if len(result.problems) > shown:
            print(f"  ! and {len(result.problems) - shown:,} more")
    for death in measured.deaths[:shown]:
        print(f"  ! {death}")
    seen = measured.seen
    print(
        f"\nwatched: {seen['livez_answers']:,} answers of /livez, {seen['events']:,} events; "
        f"the machine held the watcher up for {seen['own_gap_s']:.2f} s at most\n"
    )
    kept = promises(measured, limits)
    width = max(len(promise.text) for promise in kept)
    for promise in kept:
        print(f"{'PASS' if promise.kept else 'FAIL'}  {promise.text:<{width}}  {promise.shown}")
    return int(not all(promise.kept for promise in kept))
