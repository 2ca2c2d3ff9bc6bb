"""How tenants and jobs share the workers: windows, turns, weights, priorities, and the sizes of chunks."""

from dataclasses import replace

from nst_core.client.resources.jobs import Priority
from scheduler.store import rates as rate_rows
from tests.integration.conftest import DISPATCH_LEASE_S, TENANT, Rig, finished, progress, started
from tests.integration.job_kit import dispatch

#: Of a job without options.
PACE = rate_rows.Pace(method="feedforward", px_class=0, precision="auto", stroke="1")


def sizes(rig: Rig, photos: int) -> list[int]:
    rig.submit(photos)
    return [len(chunk.items) for chunk in dispatch(rig)]


def test_jobs_of_higher_priority_come_first_within_a_tenant(rig: Rig) -> None:
    low = rig.submit(8, priority=Priority.LOW)
    normal = rig.submit(8)
    high = rig.submit(8, priority=Priority.HIGH)
    assert [chunk.job_id for chunk in dispatch(rig)] == [high, high, normal, normal]
    assert rig.job(low).counts.pending == 8


def test_tenants_share_the_window_by_their_weights(rig: Rig) -> None:
    rig.dispatcher._weights = lambda: {"heavy": 3.0}
    mine = [rig.submit(40, priority=Priority.HIGH) for _ in range(3)]
    rig.clock.advance(0.01)
    theirs = rig.service.submit(rig.add_tenant("heavy"), rig.request(40))[0].id
    sent = [chunk.job_id for chunk in dispatch(rig)]
    assert sent.count(theirs) == 3
    assert sum(sent.count(job_id) for job_id in mine) == 1, "many jobs of high priority take nothing from others"


def test_a_chunk_that_waited_long_goes_before_newer_ones(rig: Rig) -> None:
    mine = rig.submit(40)
    rig.plan()
    rig.dispatcher.tick()
    rig.clock.advance(DISPATCH_LEASE_S / 4 + 1)
    theirs = rig.service.submit(rig.add_tenant("other"), rig.request(40))[0].id
    rig.plan()
    assert not rig.dispatcher.tick()
    for _ in range(2):
        first = rig.take()
        assert first is not None
        assert first.job_id == mine
        rig.report(started(first))
    rig.dispatcher.tick()
    assert [chunk.job_id for chunk in rig.take_all()] == [mine, mine, theirs, theirs]


def measured(rig: Rig, ms: float, *, workers: int = 0) -> None:
    """Record how long items of the wave style take, and how many workers there are."""
    with rig.database.write() as connection:
        rate_rows.add_times(connection, PACE, "wave" * 4, count=10, total_ms=round(10 * ms), now=rig.clock())
        for number in range(workers):
            rate_rows.see_worker(connection, f"w{number}", now=rig.clock())


def test_chunks_of_fast_items_grow_and_those_of_slow_ones_shrink(rig: Rig) -> None:
    measured(rig, 30_000)
    first = rig.submit(6)
    assert [len(chunk.items) for chunk in dispatch(rig)] == [2, 2, 2]
    rig.service.cancel(TENANT, first)
    with rig.database.write() as connection:
        rate_rows.forget(connection, workers_before=0, rates_before=rig.clock() + 1)
    measured(rig, 100)
    assert sizes(rig, 30) == [30]


def test_times_of_the_workers_engine_say_nothing_about_exact_jobs(rig: Rig) -> None:
    measured(rig, 30_000)
    rig.submit(3, precision="exact")
    [chunk] = dispatch(rig)
    assert len(chunk.items) == 3
    rig.report(started(chunk), finished(chunk))
    with rig.database.read() as connection:
        version = chunk.style.version
        assert rate_rows.find_means_ms(connection, PACE, [version]) == {version: 30_000}
        assert rate_rows.find_means_ms(connection, replace(PACE, precision="exact"), [version]) == {version: 5.0}


def test_jobs_with_other_strokes_have_times_of_their_own(rig: Rig) -> None:
    measured(rig, 30_000)
    rig.submit(3, stroke="auto")
    [chunk] = dispatch(rig)
    assert len(chunk.items) == 3
    rig.report(started(chunk), finished(chunk))
    with rig.database.read() as connection:
        version = chunk.style.version
        assert rate_rows.find_means_ms(connection, PACE, [version]) == {version: 30_000}
        assert rate_rows.find_means_ms(connection, replace(PACE, stroke="auto"), [version]) == {version: 5.0}


def test_small_job_is_split_among_workers(rig: Rig) -> None:
    measured(rig, 100, workers=2)
    assert sizes(rig, 12) == [3, 3, 3, 3]


def test_item_times_and_workers_are_recorded_as_items_finish(rig: Rig) -> None:
    rig.submit(4)
    [chunk] = dispatch(rig)
    rig.report(started(chunk), progress(chunk, 0, 1), finished(chunk))
    rig.report(finished(chunk))
    with rig.database.read() as connection:
        version = chunk.style.version
        assert rate_rows.find_means_ms(connection, PACE, [version, "x"]) == {version: 5.0}
        assert rate_rows.count_workers(connection, since=rig.clock() - 60) == 1


def test_an_idle_tenant_goes_before_messages_that_wait_in_the_queue(rig: Rig) -> None:
    mine = rig.submit(40)
    rig.plan()
    rig.dispatcher.tick()
    first = rig.take()
    assert first is not None
    rig.report(started(first))
    theirs = rig.service.submit(rig.add_tenant("other"), rig.request(8))[0].id
    rig.plan()
    rig.dispatcher.tick()
    assert [chunk.job_id for chunk in rig.take_all()] == [theirs, theirs, mine, mine, mine]


def test_an_idle_job_goes_before_other_jobs_of_the_only_tenant(rig: Rig) -> None:
    long = rig.submit(40)
    rig.plan()
    rig.dispatcher.tick()
    first = rig.take()
    assert first is not None
    rig.report(started(first))
    short = rig.submit(4)
    rig.plan()
    rig.dispatcher.tick()
    assert [chunk.job_id for chunk in rig.take_all()] == [short, long, long, long]


def test_no_more_chunks_wait_in_the_queue_than_there_are_workers(rig: Rig) -> None:
    rig.crew = 2
    rig.dispatcher = rig.new_dispatcher()
    rig.submit(40)
    assert len(dispatch(rig)) == 2


def test_a_full_queue_does_not_delay_a_tenant_with_fewer_chunks_in_progress(rig: Rig) -> None:
    mine = rig.submit(40)
    rig.plan()
    assert rig.dispatcher.tick()
    assert not rig.dispatcher.tick(), "four chunks are waiting"
    theirs = rig.service.submit(rig.add_tenant("other"), rig.request(40))[0].id
    rig.plan()
    assert rig.dispatcher.tick()
    assert not rig.dispatcher.tick(), "nor has the other one more than there are"
    sent = [chunk.job_id for chunk in rig.take_all()]
    assert sent == [mine, *[theirs] * 4, *[mine] * 3], "the first one of all was alone"
