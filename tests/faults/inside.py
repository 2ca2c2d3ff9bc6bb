"""`python -m tests.faults.inside scheduler|worker|real-worker`: a process of nst with built-in faults.

`worker` uses a network that takes milliseconds. Its other parts are real. `real-worker` has the real network too.
"""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from worker.__main__ import leave


def skew_clock() -> None:
    """Move the clock by the number of seconds in the switch `skew-NAME`."""
    path = Path(os.environ["NST_FAULT_SWITCHES"], f"skew-{os.environ['NST_FAULT_NAME']}")
    if path.exists():
        seconds, real = float(path.read_text()), time.time
        time.time = lambda: real() + seconds


def replaced(module: object, **doubles: object) -> None:
    """Replace attributes of a module by doubles."""
    for name, double in doubles.items():
        assert hasattr(module, name)
        setattr(module, name, double)


def scheduler() -> int:
    """Run a scheduler."""
    from nst_core.protocol import chunks as protocol
    from scheduler import app
    from scheduler.control import broker
    from scheduler.domain.codes import Failure
    from scheduler.domain.jobs import Job
    from scheduler.jobs.finalizer import Finalizer
    from scheduler.loops import Loops
    from scheduler.settings import SchedulerSettings
    from tests.faults.doubles import FaultyBroker, Switches, with_unknown_fields

    switches = Switches.of_process()

    class FaultyLoops(Loops):
        def wake(self) -> None:
            switches.crash("accepted")
            super().wake()

    class FaultyFinalizer(Finalizer):
        def _end(self, job: Job, error: Failure | None) -> None:
            switches.crash("reported")
            super()._end(job, error)

    def dump_chunk(chunk: protocol.ChunkMessage) -> object:
        values = protocol.dump_chunk(chunk)
        return values if switches.get("newer-scheduler") is None else with_unknown_fields(values)

    replaced(app, Broker=FaultyBroker, Loops=FaultyLoops, Finalizer=FaultyFinalizer)
    replaced(broker, dump_chunk=dump_chunk)
    app.run_scheduler(SchedulerSettings())
    return 0


def worker(*, real: bool = False) -> int:
    """Run a worker."""
    from nst_core import images
    from nst_core.decoding import decoder
    from tests.faults.doubles import CountingStore, FaultyBroker, QuickStylizer, check_poison
    from worker import app
    from worker.methods.stylize import method
    from worker.settings import WorkerSettings

    decode = decoder.decode

    def checked_decode(data: bytes, *limits: images.Limits, **options: Any) -> images.Picture:
        check_poison(data)
        return decode(data, *limits, **options)

    replaced(app, WorkerBroker=FaultyBroker, BlobStore=CountingStore)
    replaced(decoder, decode=checked_decode)
    if not real:
        replaced(app, load_stylizer=QuickStylizer.load)
        replaced(method, load_stylizer=QuickStylizer.load)
    return app.run_worker(WorkerSettings())


ROLES: dict[str, Callable[[], int]] = {
    "scheduler": scheduler,
    "worker": worker,
    "real-worker": lambda: worker(real=True),
}

if __name__ == "__main__":
    # Everything else is imported after this, because modules keep the `time` that they import.
    skew_clock()
    leave(ROLES[sys.argv[1]]())
