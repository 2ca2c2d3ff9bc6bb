"""Starts services in stages, restarts the ones that fail, and stops them in reverse order."""

import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from nst_core.errors import NstError
from nst_core.system.heartbeat import DEAF_S, Stillness, touched_at
from scheduler.local.processes import Child, describe_exit

#: The pauses before restarts are 1, 2, 4 and 8 seconds, then always this.
MAX_PAUSE_S = 10.0
#: A process that ran for this long is restarted after the shortest pause.
HEALTHY_S = 60.0
_TICK_S = 0.05


class StackError(NstError):
    """A process of the stack could not be started."""

    code = "stack_failed"


class ServiceState(StrEnum):
    """What happened to a service."""

    STARTING = "starting"  # its process was started
    READY = "ready"  # it answers
    DIED = "died"  # it ended unexpectedly, and will be restarted
    STOPPING = "stopping"  # it was asked to end
    KILLED = "killed"  # it did not end in time


@dataclass(frozen=True, kw_only=True)
class StackEvent:
    """Something that happened to a service."""

    name: str
    state: ServiceState
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class Service:
    """A process to keep running."""

    name: str
    command: Sequence[str]
    env: Mapping[str, str]
    #: Must return within a second.
    is_ready: Callable[[], bool]
    #: Seconds to end after SIGTERM.
    grace_s: float = 10.0
    #: Whether the next stage waits until it is ready.
    is_awaited: bool = True
    #: A file that the process touches while it works. Without one, only its end is noticed.
    heartbeat: Path | None = None
    #: The process is killed if it does not touch its file for this many seconds.
    deaf_s: float = DEAF_S
    #: The same limit, before the process touches its file for the first time.
    mute_s: float = 180.0


@dataclass(kw_only=True)
class _Watched:
    service: Service
    child: Child | None = None
    ready: bool = False
    #: When the process was started, or will be.
    at: float = 0.0
    deaths: int = field(default=0)
    stillness: Stillness = field(default_factory=Stillness)
    #: The process was killed because it hung.
    deaf: bool = False


class Supervisor:
    """Runs services in a thread of its own, because they end when the thread that started them ends."""

    def __init__(
        self,
        stages: Sequence[Sequence[Service]],
        *,
        logs: Path,
        cwd: Path,
        on_event: Callable[[StackEvent], None],
        start_timeout_s: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """The services of a stage start together, when all of the previous stage are ready."""
        self._stages = [[_Watched(service=service) for service in stage] for stage in stages]
        self._logs = logs
        self._cwd = cwd
        self._on_event = on_event
        self._start_timeout_s = start_timeout_s
        self._clock = clock
        self._failure: BaseException | None = None
        self._up = threading.Event()
        self._stop = threading.Event()
        self._kill = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)

    @property
    def children(self) -> dict[str, Child]:
        """The running processes by name; a restarted service has a new one."""
        return {w.service.name: w.child for stage in self._stages for w in stage if w.child is not None}

    def start(self) -> None:
        """Return when every service is ready; raise StackError if one ends or is not ready in time."""
        self._thread.start()
        self._up.wait()
        if self._failure is not None:
            self.wait()

    def wait(self) -> None:
        """Return when everything has been stopped; raise the error that ended the supervisor, if any."""
        self._ended.wait()
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Stop every service, the last stage first. KeyboardInterrupt kills the rest immediately."""
        self._stop.set()
        if self._thread.ident is None:
            return
        try:
            self._ended.wait()
        except KeyboardInterrupt:
            self._kill.set()
            self._ended.wait()
            raise

    def _run(self) -> None:
        try:
            self._start_all()
            self._up.set()
            while not self._stop.wait(_TICK_S):
                for watched in (w for stage in self._stages for w in stage):
                    self._keep_running(watched)
        except BaseException as error:  # noqa: BLE001  # raised again in the thread that waits
            self._failure = error
        finally:
            try:
                self._stop_all()
            finally:
                self._up.set()
                self._ended.set()

    def _start_all(self) -> None:
        for stage in self._stages:
            for watched in stage:
                self._spawn(watched)
            deadline = self._clock() + self._start_timeout_s
            while not self._all_ready(stage):
                for watched in stage:
                    self._require_start(watched, in_time=self._clock() < deadline)
                if self._stop.wait(_TICK_S):
                    return

    def _require_start(self, watched: _Watched, *, in_time: bool) -> None:
        assert watched.child is not None
        code = watched.child.poll()
        if code is None and in_time:
            return
        what = "was not ready in time" if code is None else f"ended with {describe_exit(code)}"
        end = watched.child.log_end().strip() or "(empty)"
        raise StackError(f"{watched.service.name} {what}. The end of {watched.child.log}:\n{end}")

    def _spawn(self, watched: _Watched) -> None:
        service = watched.service
        log = self._logs / f"{service.name}.log"
        if service.heartbeat is not None:
            service.heartbeat.unlink(missing_ok=True)
        watched.stillness, watched.deaf = Stillness(clock=self._clock), False
        watched.child = Child(service.name, service.command, env=service.env, cwd=self._cwd, log=log)
        watched.at, watched.ready = self._clock(), False
        self._say(service.name, ServiceState.STARTING, f"pid {watched.child.pid}")

    def _all_ready(self, stage: Sequence[_Watched]) -> bool:
        # Ask all of them, so that each is reported when it is ready.
        ready = [self._check_ready(watched) or not watched.service.is_awaited for watched in stage]
        return all(ready)

    def _check_ready(self, watched: _Watched) -> bool:
        if not watched.ready and watched.service.is_ready():
            watched.ready = True
            self._say(watched.service.name, ServiceState.READY)
        return watched.ready

    def _check_deaf(self, watched: _Watched, child: Child) -> None:
        """Kill a process that hangs, for example in a call of C that never returns."""
        service = watched.service
        if service.heartbeat is None or watched.deaf:
            return
        touched = touched_at(service.heartbeat)
        if watched.stillness.see(touched) > (service.mute_s if touched is None else service.deaf_s):
            watched.deaf = True
            child.send_signal(signal.SIGKILL)

    def _keep_running(self, watched: _Watched) -> None:
        now, child = self._clock(), watched.child
        if child is None:
            if now >= watched.at:
                self._spawn(watched)
            return
        code = child.poll()
        if code is None:
            self._check_ready(watched)
            self._check_deaf(watched, child)
            return
        watched.deaths = 0 if now - watched.at >= HEALTHY_S else watched.deaths
        pause_s = min(2.0**watched.deaths, MAX_PAUSE_S)
        watched.deaths += 1
        watched.child, watched.at = None, now + pause_s
        how = "killed because it hung" if watched.deaf else describe_exit(code)
        detail = f"{how}; restarts in {pause_s:g} s; see {child.log}"
        self._say(watched.service.name, ServiceState.DIED, detail)

    def _stop_all(self) -> None:
        for stage in reversed(self._stages):
            running = {w.child: w.service for w in stage if w.child is not None}
            killed = set[Child]()
            started = self._clock()
            for child, service in running.items():
                if child.poll() is None:
                    self._say(service.name, ServiceState.STOPPING)
                    child.terminate()
            while running:
                for child, service in list(running.items()):
                    if child.poll() is not None:
                        del running[child]
                    elif child not in killed and (self._kill.is_set() or self._clock() - started >= service.grace_s):
                        # Only once: a process with much memory takes some seconds to end.
                        killed.add(child)
                        self._say(service.name, ServiceState.KILLED)
                        child.send_signal(signal.SIGKILL)
                time.sleep(_TICK_S)

    def _say(self, name: str, state: ServiceState, detail: str = "") -> None:
        try:
            self._on_event(StackEvent(name=name, state=state, detail=detail))
        except BaseException:
            # A listener that fails, for example on a closed console, must not prevent that services are stopped.
            self._on_event = lambda event: None
            raise
