"""The faults. Each is a function that gets the scene and runs in its own thread after the job was submitted."""

import resource
import signal
import sqlite3
import threading
import time

from nst_core.protocol.chunks import StylizeChunk
from nst_core.queue.connection import make_redis, queue_lists
from tests.faults.cluster import LEASE_S
from tests.faults.links import StorageFaults
from tests.faults.scene import Scene

#: How long a worker may take for its current work.
GRACE_S = 20.0
#: What a worker logs when its network fails.
_FAILED = "WARNING worker.runtime.outcomes"
#: Longer than the scheduler waits for SQLite's lock.
LOCKED_S = 23.0


def kill_workers(scene: Scene, *, number: signal.Signals = signal.SIGKILL, every_items: int = 2500) -> None:
    """Kill a random worker at random moments, at least four times."""
    for share in scene.moments(max(4, scene.items // every_items)):
        if not scene.at(share):
            return
        # The others continue, even if a busy machine takes long to restart the last one.
        while scene.going and not all(map(scene.cluster.takes_work, scene.cluster.workers)):
            time.sleep(0.1)
        name = scene.catch_worker()
        if name is not None and scene.cluster.signal(name, number):
            scene.cluster.signal(name, signal.SIGCONT)
            scene.faults += 1
            scene.mark(f"{number.name} to {name}")


def starve_and_crash(scene: Scene) -> None:
    """Make a worker run out of memory for a while, then make it die of a segmentation fault."""
    if not scene.at(0.15):
        return
    name = scene.busy_worker()
    pid = scene.cluster.pid(name) if name else 0
    if not pid:
        return
    scene.faults += 1
    failed_before = scene.cluster.logs("worker").count(_FAILED)
    before = resource.prlimit(pid, resource.RLIMIT_DATA, (1 << 20, resource.RLIM_INFINITY))
    time.sleep(2.0)
    if scene.cluster.pid(name or "") == pid:
        resource.prlimit(pid, resource.RLIMIT_DATA, before)
        scene.counted["workers that lived on"] += 1
    else:
        scene.counted["workers that died for want of memory"] += 1
    scene.mark("memory is back")
    scene.counted["failures for want of memory"] += scene.cluster.logs("worker").count(_FAILED) - failed_before
    if scene.at(0.6) and (name := scene.busy_worker()):
        scene.faults += scene.cluster.signal(name, signal.SIGSEGV)
        scene.mark("SIGSEGV")


def roll_workers(scene: Scene) -> None:
    """Replace all workers one by one: SIGTERM, and SIGKILL after the grace period."""
    for share, name in zip((0.1, 0.3, 0.5), scene.cluster.workers, strict=False):
        if not scene.at(share):
            return
        begun = time.monotonic()
        code = scene.cluster.stop(name, grace_s=GRACE_S)
        scene.cluster.hold(name, False)
        scene.faults += 1
        scene.mark(f"{name} ended")
        scene.longest_s["end of a worker"] = max(scene.longest_s.get("end of a worker", 0), time.monotonic() - begun)
        if code != 0:
            scene.problems.append(f"{name} ended with exit code {code}")


def restart_redis(scene: Scene) -> None:
    """Kill Redis, which reads its append-only file when it restarts."""
    for share in (0.2, 0.6):
        if not scene.at(share):
            return
        scene.cluster.signal("redis", signal.SIGKILL)
        scene.faults += 1
        scene.mark("redis killed")


def flush_redis(scene: Scene) -> None:
    """Delete all that Redis holds, three times."""
    for share in scene.moments(3):
        if not scene.at(share):
            return
        scene.cluster.flush_redis()
        scene.faults += 1
        scene.mark("FLUSHALL")


def freeze_redis(scene: Scene) -> None:
    """Stop Redis for a long time, then block its link to the first scheduler for as long."""
    if not scene.at(0.2):
        return
    scene.cluster.signal("redis", signal.SIGSTOP)
    time.sleep(scene.freeze_s)
    scene.cluster.signal("redis", signal.SIGCONT)
    scene.faults += 1
    scene.mark("SIGCONT to redis")
    if not scene.at(0.5):
        return
    link = scene.cluster.links["scheduler-1>redis"]
    link.block()
    time.sleep(scene.freeze_s)
    link.heal()
    scene.faults += 1
    scene.mark("scheduler-1 hears Redis again")


def partition_worker(scene: Scene) -> None:
    """Block the link between a busy worker and Redis for twice the lease."""
    for share in (0.15, 0.5):
        if scene.at(share) and (name := scene.catch_worker()):
            link = scene.cluster.links[f"{name}>redis"]
            link.block()
            scene.cluster.signal(name, signal.SIGCONT)
            scene.faults += 1
            scene.mark(f"{name} cut off")
            time.sleep(2 * LEASE_S)
            link.heal()


def partition_database(scene: Scene) -> None:
    """Block the link between the first scheduler and PostgreSQL for twice the lease, then close its connections."""
    partition_worker(scene)
    name = "scheduler-1>database"
    if scene.cluster.setup.database == "postgresql" and scene.at(0.75):
        scene.cluster.links[name].block()
        time.sleep(2 * LEASE_S)
        scene.cluster.links[name].heal()
        scene.cluster.links[name].cut()
        scene.faults += 1
        scene.mark("scheduler-1 hears PostgreSQL again")


def pause_worker(scene: Scene) -> None:
    """Stop a busy worker for longer than its lease, then continue it."""
    for share in (0.15, 0.5):
        if scene.at(share) and (name := scene.catch_worker()):
            scene.faults += 1
            scene.mark(f"SIGSTOP to {name}")
            time.sleep(2 * LEASE_S)
            scene.cluster.signal(name, signal.SIGCONT)


def repeat_messages(scene: Scene) -> None:
    """Deliver messages and events two to five times and reordered, until the job ends."""
    client = make_redis(scene.cluster.broker_settings)
    lists = queue_lists(StylizeChunk.queue)
    while scene.going:
        # Move a message from one end of the queue to the other, or to the list of another priority.
        ends = scene.rng.choice((("LEFT", "RIGHT"), ("RIGHT", "LEFT")))
        moved = client.lmove(scene.rng.choice(lists), scene.rng.choice(lists), *ends)
        scene.faults += moved is not None
        time.sleep(0.02)
    client.close()


def crash_schedulers(scene: Scene) -> None:
    """Make schedulers die between steps that belong together, at every such point, and kill one more."""
    for share, point in zip((0.1, 0.3, 0.5), ("claimed", "sent", "applied"), strict=True):
        if scene.at(share):
            scene.cluster.switches.put(f"crash-{point}")
            scene.faults += 1
            scene.mark(f"crash when {point}")
    if scene.at(0.7):
        scene.cluster.signal(scene.rng.choice(scene.cluster.schedulers), signal.SIGKILL)
        scene.faults += 1
        scene.mark("SIGKILL to a scheduler")
    scene.cluster.switches.put("crash-reported")
    scene.faults += 1


def fail_storage(scene: Scene) -> None:
    """Make one request in five fail, PUTs slow, and PUTs succeed without an answer, almost until the job ends."""
    link = scene.cluster.links.storage("storage")
    before = link.failed
    link.disturb(StorageFaults(refused=0.2, slow=0.1, slow_s=1.0, unanswered=0.1))
    scene.at(0.9)
    link.disturb(None)
    scene.faults = link.failed - before
    scene.counted["requests that went wrong"] += scene.faults


def restart_database(scene: Scene) -> None:
    """Crash and restart PostgreSQL, or hold SQLite's lock for longer than any process waits."""
    if not scene.at(0.3):
        return
    scene.faults += 1
    if scene.cluster.setup.database == "postgresql":
        scene.cluster.hold("postgres")
        scene.cluster.signal("postgres", signal.SIGQUIT)
        time.sleep(5.0)
        scene.cluster.hold("postgres", False)
    else:
        connection = sqlite3.connect(scene.cluster.home / "nst.db", timeout=60, isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        time.sleep(LOCKED_S)
        connection.execute("ROLLBACK")
        connection.close()
    scene.mark("the database is back")


def cancel_twice(scene: Scene) -> None:
    """Cancel the job with two requests at the same time."""
    if not scene.at(0.4):
        return
    with scene.cluster.client() as client:
        calls = [threading.Thread(target=client.cancel, args=(scene.job.id,)) for _ in range(2)]
        for call in calls:
            call.start()
        scene.mark("cancelled")
        for call in calls:
            call.join()
    scene.faults += 2


def fill_disk(scene: Scene) -> None:
    """Fill the disk that everything is on, and free it again. Then make networks run out of memory."""
    if scene.at(0.2):
        path = scene.cluster.home / "filler"
        with open(path, "wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(1 << 16))
            except OSError:
                pass
        scene.faults += 1
        time.sleep(4.0)
        path.unlink()
        scene.mark("there is room again")
    if scene.at(0.5):
        scene.cluster.switches.put("out-of-memory", "0.03")
        scene.faults += 1
        scene.at(0.8)
        scene.cluster.switches.drop("out-of-memory")


def nothing(scene: Scene) -> None:
    """Do nothing, because the fault was switched on before."""
    scene.faults += 1
