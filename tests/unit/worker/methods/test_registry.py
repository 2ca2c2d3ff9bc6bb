"""Tests of worker.methods: the registry."""

from nst_core.protocol.chunks import OptimizeChunk, StylizeChunk
from worker.methods import all_methods
from worker.segments.work import Train
from worker.settings import WorkerSettings


def test_each_kind_of_work_has_its_own_queue_and_slots() -> None:
    settings = WorkerSettings(concurrency=3, optimize_concurrency=4, train_concurrency=5)
    found = {work.queue: (work.slots(settings), work.is_long) for work in (*all_methods(), Train())}
    assert found == {StylizeChunk.queue: (3, False), OptimizeChunk.queue: (4, True), "nst.train": (5, True)}
