"""A photo that kills its worker again and again takes no others along that the worker has at the same time."""

from tests.integration.conftest import LEASE_S, Rig, finished, started


def test_chunks_that_die_with_another_one_are_tried_alone_at_last(rig: Rig) -> None:
    rig.chunk_size = 1
    rig.__post_init__()
    job_id = rig.submit(4)
    rig.plan()
    killer = 2
    for _ in range(20):
        rig.dispatcher.tick()
        taken = rig.take_all()
        if not taken:
            break
        # One worker has them all; where the killer is among them, it dies and nobody hears of them any more.
        dies = any(item.index == killer for chunk in taken for item in chunk.items)
        rig.report(*(started(chunk) for chunk in taken))
        if not dies:
            rig.report(*(finished(chunk) for chunk in taken))
        rig.clock.advance(LEASE_S + 1)
        rig.reaper.tick()
    job = rig.job(job_id)
    assert (job.counts.succeeded, job.counts.failed) == (3, 1)
    (failed,) = (item for item in rig.service.items("default", job_id, limit=10, after=-1) if item.error_code)
    assert (failed.index, failed.error_code) == (killer, "worker_lost")
