"""What happens to the containers while a job runs."""

import signal

from tests.cluster.cluster import ImageCluster
from tests.faults.cases import Bar, Case
from tests.faults.faults import GRACE_S
from tests.faults.scene import Scene

_STYLES = ("great_wave", "udnie")
#: Of photos that take long enough: the job must not end before its last fault.
_SIDE_PX = 320
#: The servers that are no images of ours.
_SERVERS = ("redis", "s3", "postgres")


def restart_each(scene: Scene, *, begin: float = 0.1, end: float = 0.8) -> None:
    """Replace one container after the other: SIGTERM, then the next one when its successor is ready.

    `begin` and `end` are shares of the job, 0 to 1.
    """
    names = [*scene.cluster.workers, *scene.cluster.schedulers]
    for number, name in enumerate(names):
        if not scene.at(begin + (end - begin) * number / len(names)):
            scene.problems.append(f"the job ended before {name} was restarted")
            return
        code = scene.cluster.stop(name, grace_s=GRACE_S)
        scene.cluster.hold(name, False)
        scene.faults += 1
        scene.mark(f"{name} ended")
        if code != 0:
            scene.problems.append(f"{name} ended with exit code {code}")
        _until_ready(scene, name)


def kill_each(scene: Scene, *, begin: float = 0.1, end: float = 0.8) -> None:
    """Kill one process after the other with SIGKILL, servers too, and wait until its successor is ready.

    `begin` and `end` are shares of the job, 0 to 1.
    """
    names = [*scene.cluster.workers, *scene.cluster.schedulers, *_SERVERS]
    for number, name in enumerate(names):
        if not scene.at(begin + (end - begin) * number / len(names)):
            scene.problems.append(f"the job ended before {name} was killed")
            return
        before = len(scene.cluster.codes(name))
        scene.cluster.signal(name, signal.SIGKILL)
        scene.cluster.wait_until(lambda n=name, b=before: len(scene.cluster.codes(n)) > b, what=f"the end of {name}")  # type: ignore[misc]
        scene.faults += 1
        scene.mark(f"SIGKILL to {name}")
        _until_ready(scene, name)


def restart_and_kill_each(scene: Scene) -> None:
    """Replace each container, then kill each process."""
    restart_each(scene, begin=0.05, end=0.45)
    kill_each(scene, begin=0.45, end=0.9)


def check_health(scene: Scene) -> None:
    """Ask the health checks of the images about each container."""
    assert isinstance(scene.cluster, ImageCluster)
    for name in (*scene.cluster.workers, *scene.cluster.schedulers):
        if not scene.cluster.healthy(name):
            scene.problems.append(f"the health check of {name} fails")
    scene.faults += 1


def _until_ready(scene: Scene, name: str) -> None:
    if name not in _SERVERS:
        scene.cluster.wait_until(lambda: scene.cluster.takes_work(name), what=name)


CASES = (
    Case(
        id="I1",
        title="nothing, and health checks",
        fault=check_health,
        real=True,
        items=40,
        styles=_STYLES,
        bar=Bar(silent=0),
    ),
    Case(
        id="I2",
        title="rolling restart, SIGTERM",
        fault=restart_each,
        real=True,
        items=120,
        side_px=_SIDE_PX,
        styles=_STYLES,
        bar=Bar(silent=0, api_dies=True),
    ),
    Case(
        id="I3",
        title="kill -9 of each process",
        fault=kill_each,
        real=True,
        items=120,
        side_px=_SIDE_PX,
        styles=_STYLES,
        bar=Bar(api_dies=True, taken=1, recovery_s=60),
    ),
    Case(
        id="I4",
        title="rolling restart, then kill -9 of each process, in one job",
        fault=restart_and_kill_each,
        real=True,
        items=200,
        side_px=_SIDE_PX,
        styles=_STYLES,
        bar=Bar(api_dies=True, taken=1, recovery_s=120),
    ),
)
