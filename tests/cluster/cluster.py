"""A cluster whose schedulers and workers are those of the container images, two of each."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from nst_core.system.heartbeat import READY
from scheduler.local.servers import HOST
from tests.cluster.containers import Image, first_process
from tests.faults.cluster import Cluster, Setup

#: Where the images keep the heartbeat and what workers cache.
_HEARTBEAT, _CACHE = "tmp/nst-heartbeat", "/var/cache/nst"
SETUP = Setup(database="postgresql", workers=2, real=True)
#: Those that `nst up --workers 2` gives each of its workers.
THREADS = max(1, (os.cpu_count() or 1) // SETUP.workers)


class ImageCluster(Cluster):
    """Runs the processes of nst in containers. Redis, the storage and PostgreSQL are those of this machine."""

    counts_effects = False

    def __init__(
        self, images: Mapping[str, Image], home: Path, *, seed: int = 0, env: Mapping[str, str] | None = None
    ) -> None:
        """Use the images `scheduler` and `worker`. `env` adds to the environment of their processes."""
        super().__init__(SETUP, home, seed=seed)
        self._images = images
        self._env = {"NST_THREADS": str(THREADS), **(env or {})}
        self._image_of: dict[str, Image] = {}

    def pid(self, name: str) -> int:
        """Return the id of a process, in a container that of the first one, or 0 if it is not running."""
        pid = super().pid(name)
        return first_process(pid) if pid and name in self._image_of else pid

    def takes_work(self, name: str) -> bool:
        """Return whether a process in a container is ready, as its heartbeat file says."""
        try:
            return Path(f"/proc/{self.pid(name)}/root", _HEARTBEAT).read_text() == READY
        except OSError:
            return False

    def healthy(self, name: str) -> bool:
        """Return what the health check of the image says about a running container."""
        image = self._image_of[name]
        enter = ("nsenter", "--target", str(self.pid(name)), "--mount", "--pid", "--root", "--wd")
        user = ("setpriv", "--reuid=10001", "--regid=10001", "--clear-groups", "--no-new-privs")
        env = ("env", "-i", *(f"{key}={value}" for key, value in image.env.items()))
        return subprocess.run([*env, *enter, *user, *image.health], check=False).returncode == 0

    def signal(self, name: str, number: signal.Signals) -> bool:
        """Send a signal to a process, in a container to the first one. Return False if it is not running."""
        if name not in self._image_of:
            return super().signal(name, number)
        pid = self.pid(name)
        if pid:
            os.kill(pid, number)
        return pid > 0

    def stop(self, name: str, *, grace_s: float) -> int:
        """End a container with SIGTERM, or SIGKILL after a time, keep it stopped, and return its exit code."""
        self.hold(name)
        ends = len(self.codes(name))
        self.signal(name, signal.SIGTERM)
        deadline = time.monotonic() + grace_s
        while len(self.codes(name)) == ends:
            if time.monotonic() > deadline:
                self.signal(name, signal.SIGKILL)
            time.sleep(0.02)
        return self.codes(name)[-1]

    def _add_inside(self, name: str, role: str, env: Mapping[str, str]) -> None:
        image = self._images["scheduler" if role == "scheduler" else "worker"]
        self._image_of[name] = image
        redis_url = f"redis://{HOST}:{self._link(f'{name}>redis', self.redis_port)}/0"
        settings = {key: value for key, value in env.items() if not key.startswith("NST_FAULT_")}
        cache = self.home / "cache"
        if not cache.exists():
            cache.mkdir()
            os.chown(cache, *map(int, image.user.split(":")))
        binds = {cache: _CACHE} if role != "scheduler" else {}
        self._add(name, image.run({**settings, **self._env, "NST_REDIS_URL": redis_url}, binds), {})
