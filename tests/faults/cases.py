"""The fault matrix: what goes wrong in each case, and what must hold besides that nothing is lost and nothing twice."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tests.faults import faults, webhooks
from tests.faults.cluster import CHUNK_SIZE, CONCURRENCY, LEASE_S, LOST_AFTER_S, Cluster
from tests.faults.scene import Scene
from tests.photos import BAD_CODES

BOTH = ("sqlite", "postgresql")
#: Chunks that one worker may have in hand, in items.
_IN_HAND = CONCURRENCY * CHUNK_SIZE
#: Until a chunk whose worker has died is with another: its lease ends, the reaper looks, a worker is free.
_TAKEN_OVER_S = LEASE_S + 15
POISON_NAME, STICKY_NAME = "poison.png", "sticky.png"
#: What the photos that are none fail with, and the one that kills its worker.
POISONED = {name: code for name, code in BAD_CODES.items() if name != "missing.jpg"} | {POISON_NAME: "worker_lost"}


@dataclass(frozen=True, kw_only=True)
class Bar:
    """What a case must come to, besides what every case must."""

    status: str = "succeeded"
    #: The longest time from a fault, or its end, until all work goes on.
    recovery_s: float | None = None
    #: Items that are done again, for each fault.
    waste: int | None = None
    #: Reports of outdated attempts that are refused.
    fenced: int = 0
    #: The longest call of the API.
    call_s: float | None = None
    #: The API must have said 503 and Retry-After.
    unavailable: bool = False
    #: The API's process dies, so that nobody listens for a while.
    api_dies: bool = False
    #: Leases that may be taken from workers at most, and those that must be: else the fault has hit nobody at work.
    silent: int | None = None
    taken: int = 0
    #: Inputs that fail, and with what.
    failing: Mapping[str, str] = field(default_factory=dict)
    #: Items that may be left out.
    some_cancelled: bool = False


@dataclass(frozen=True, kw_only=True)
class Case:
    """One row of the matrix."""

    id: str
    title: str
    fault: Callable[[Scene], None]
    #: Called before the job is submitted.
    prepare: Callable[[Cluster], None] = lambda cluster: None
    bar: Bar = Bar()
    databases: tuple[str, ...] = BOTH
    items: int = 1000
    #: Real networks and photos, which are few.
    real: bool = False
    #: A disk of its own, which can be filled.
    own_disk: bool = False
    #: The cluster is not the same as before afterwards.
    leaves_traces: bool = False


def skew_clocks(cluster: Cluster) -> None:
    """Start two workers again with clocks that are ten minutes wrong, one each way."""
    for name, seconds in zip(cluster.workers, (600, -600), strict=False):
        cluster.stop(name, grace_s=faults.GRACE_S)
        cluster.switches.put(f"skew-{name}", str(seconds))
        cluster.hold(name, False)
        cluster.wait_until(lambda name=name: bool(cluster.pid(name)), what=name)  # type: ignore[misc]


def mix_versions(cluster: Cluster) -> None:
    """Let schedulers and one worker be of a newer version, which says more than the others know."""
    cluster.switches.put("newer-scheduler")
    cluster.switches.put("newer-worker-1")


CASES = (
    Case(
        id="F1",
        title="kill -9 of random workers",
        fault=faults.kill_workers,
        items=10_000,
        bar=Bar(recovery_s=_TAKEN_OVER_S, waste=_IN_HAND, taken=1),
    ),
    Case(
        id="F2",
        title="worker without memory, and SIGSEGV",
        fault=faults.starve_and_crash,
        real=True,
        items=300,
        bar=Bar(recovery_s=_TAKEN_OVER_S + 10),
    ),
    Case(
        id="F3",
        title="rolling deploy, SIGTERM",
        fault=faults.roll_workers,
        bar=Bar(waste=0, silent=0),
    ),
    Case(
        id="F4",
        title="Redis killed, AOF, under load",
        fault=faults.restart_redis,
        items=10_000,
        bar=Bar(recovery_s=30),
    ),
    Case(
        id="F5",
        title="FLUSHALL",
        fault=faults.flush_redis,
        # Ends of chunks may be flushed as well as messages; then it takes a lease first.
        bar=Bar(recovery_s=LEASE_S + 2 * (LOST_AFTER_S + 1)),
    ),
    Case(id="F6", title="Redis frozen, then cut off", fault=faults.freeze_redis, bar=Bar(call_s=10)),
    Case(
        id="F7",
        title="partitions of 2 leases",
        fault=faults.partition_database,
        bar=Bar(fenced=1, taken=1, recovery_s=_TAKEN_OVER_S),
    ),
    Case(
        id="F8",
        title="worker stopped for 2 leases",
        fault=faults.pause_worker,
        bar=Bar(fenced=1, taken=1, recovery_s=_TAKEN_OVER_S),
    ),
    Case(
        id="F9",
        title="all messages 2 to 5 times, reordered",
        fault=faults.repeat_messages,
        prepare=lambda cluster: cluster.switches.put("repeat"),
    ),
    Case(
        id="F10",
        title="API killed between commit and answer",
        fault=faults.nothing,
        prepare=lambda cluster: cluster.switches.put("crash-accepted"),
        bar=Bar(api_dies=True),
    ),
    Case(
        id="F11",
        title="S3: 20 % 503, slow, no answer",
        fault=faults.fail_storage,
        items=10_000,
    ),
    Case(
        id="F12",
        title="schedulers killed amid steps",
        fault=faults.crash_schedulers,
        bar=Bar(api_dies=True, recovery_s=60),
    ),
    Case(
        id="F13",
        title="database restarted, or locked",
        fault=faults.restart_database,
        bar=Bar(unavailable=True, recovery_s=30),
    ),
    Case(
        id="F14",
        title="photos that are none, or kill",
        fault=faults.nothing,
        real=True,
        items=24,
        bar=Bar(status="partially_succeeded", failing=POISONED),
    ),
    Case(
        id="F14H",
        title="photo that hangs its worker",
        fault=faults.nothing,
        real=True,
        items=12,
        bar=Bar(status="partially_succeeded", failing={STICKY_NAME: "worker_lost"}),
    ),
    Case(
        id="F15",
        title="cancelled twice amid the job",
        fault=faults.cancel_twice,
        bar=Bar(status="cancelled", recovery_s=10, some_cancelled=True),
    ),
    Case(
        id="F17",
        title="webhook's receiver ill, schedulers killed",
        fault=webhooks.torment_receiver,
        prepare=webhooks.watch,
        bar=Bar(api_dies=True, recovery_s=60),
    ),
    Case(
        id="F18",
        title="disk full, then CUDA out of memory",
        fault=faults.fill_disk,
        own_disk=True,
        leaves_traces=True,
        bar=Bar(api_dies=True),
    ),
    Case(
        id="F19",
        title="clocks of workers ±10 min",
        fault=faults.nothing,
        prepare=skew_clocks,
        leaves_traces=True,
        bar=Bar(waste=0, silent=0),
    ),
    Case(
        id="F20",
        title="newer scheduler and worker mixed in",
        fault=faults.nothing,
        prepare=mix_versions,
        bar=Bar(silent=0),
    ),
)
