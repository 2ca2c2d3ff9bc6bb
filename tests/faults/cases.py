"""The fault matrix: the fault of each case, and its limits. In every case no item may be lost or done twice."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tests.faults import faults, webhooks
from tests.faults.cluster import CHUNK_SIZE, CONCURRENCY, LEASE_S, LOST_AFTER_S, Cluster
from tests.faults.scene import Scene
from tests.photos import BAD_CODES

BOTH = ("sqlite", "postgresql")
#: The number of items in the chunks that one worker may hold.
_IN_HAND = CONCURRENCY * CHUNK_SIZE
#: Time until another worker has the chunk of a dead one: the lease ends, the reaper runs, a worker is free.
_TAKEN_OVER_S = LEASE_S + 15
POISON_NAME, STICKY_NAME = "poison.png", "sticky.png"
#: The error codes of the files that are not photos, and of the photo that kills its worker.
POISONED = {name: code for name, code in BAD_CODES.items() if name != "missing.jpg"} | {POISON_NAME: "worker_lost"}


@dataclass(frozen=True, kw_only=True)
class Bar:
    """The limits of a case, in addition to the checks of every case."""

    status: str = "succeeded"
    #: The longest time from a fault, or its end, until all work continues.
    recovery_s: float | None = None
    #: The most items that may be done again for each fault.
    waste: int | None = None
    #: The fewest reports of outdated attempts that must be refused.
    fenced: int = 0
    #: The longest time of an API call.
    call_s: float | None = None
    #: Whether the API must have answered 503 with Retry-After.
    unavailable: bool = False
    #: Whether the API's process dies, so that connections are refused for a while.
    api_dies: bool = False
    #: The most leases that may be taken from workers, and the fewest: with fewer, the fault hit no busy worker.
    silent: int | None = None
    taken: int = 0
    #: Inputs that fail, with their error codes.
    failing: Mapping[str, str] = field(default_factory=dict)
    #: Whether items may be left out.
    some_cancelled: bool = False


@dataclass(frozen=True, kw_only=True)
class Case:
    """One row of the matrix."""

    id: str
    title: str
    fault: Callable[[Scene], None]
    #: Runs before the job is submitted.
    prepare: Callable[[Cluster], None] = lambda cluster: None
    bar: Bar = Bar()
    databases: tuple[str, ...] = BOTH
    items: int = 1000
    #: Whether to use real networks and photos, of which there are few.
    real: bool = False
    #: The size of these photos: their sides have so many pixels, or a few more.
    side_px: int = 96
    #: The styles of the job.
    styles: tuple[str, ...] = ("great_wave",)
    #: Whether the case needs its own disk, which can be filled.
    own_disk: bool = False
    #: Whether the case changes the cluster, so that no other case can use it.
    leaves_traces: bool = False


def skew_clocks(cluster: Cluster) -> None:
    """Restart two workers with wrong clocks: one ten minutes ahead, one ten minutes behind."""
    for name, seconds in zip(cluster.workers, (600, -600), strict=False):
        cluster.stop(name, grace_s=faults.GRACE_S)
        cluster.switches.put(f"skew-{name}", str(seconds))
        cluster.hold(name, False)
        cluster.wait_until(lambda name=name: bool(cluster.pid(name)), what=name)  # type: ignore[misc]


def mix_versions(cluster: Cluster) -> None:
    """Make schedulers and one worker send fields that the others do not know, as a newer version would."""
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
        # End events of chunks may be flushed as well as messages. Then a lease must expire first.
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
