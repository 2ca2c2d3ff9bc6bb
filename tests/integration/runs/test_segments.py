"""Guarantees of queued training: a run has one live segment, one end of it counts, and no accepted step is lost."""

import pytest

from nst_core.client.resources.events import EventType
from nst_core.client.resources.runs import RunStatus
from nst_core.protocol.segments import TRAIN_TASK, Phase
from nst_core.queue.connection import make_redis
from nst_core.settings import BrokerSettings
from scheduler.domain.runs import SegmentState, Stop
from scheduler.runs import changes
from scheduler.store import events as event_rows
from scheduler.store import styles as access
from scheduler.store import versions
from scheduler.store.tables import SHIPPED
from tests.integration.conftest import LEASE_S, TENANT, Rig
from tests.integration.runs.kit import DISPATCH_LEASE_S, LOST_AFTER_S, RunRig, begun, broken, finished, going


def test_a_run_is_a_chain_of_segments_that_ends_with_a_style(runs: RunRig) -> None:
    run_id = runs.add(steps=100)
    first = runs.next()
    assert (first.run_id, first.attempt, first.phase, first.checkpoint) == (run_id, 1, Phase.TRAIN, None)
    assert (first.segment_s, first.held_out) == (7.0, 16)
    assert first.place == f"s3://nst/tenants/{TENANT}/runs/{run_id}/"
    assert runs.run(run_id).status is RunStatus.QUEUED
    end = runs.trained(first, 60)
    runs.report(begun(first), going(first, 30, losses={"total": 4.0}), end)
    run = runs.run(run_id)
    assert (run.status, run.step, run.live, run.checkpoint) == (
        RunStatus.RUNNING,
        60,
        SegmentState.NONE,
        end.checkpoint,
    )
    assert run.config is not None
    assert run.config["content_weight"] == 1.5
    assert run.photos == {"count": 184, "held_out": 16, "skipped": 0, "reasons": {}, "warning": None}
    second = runs.next()
    assert (second.attempt, second.checkpoint) == (2, end.checkpoint)
    runs.report(begun(second), runs.trained(second, 100))
    assert runs.run(run_id).status is RunStatus.EVALUATING
    third = runs.next()
    assert (third.attempt, third.phase) == (3, Phase.EVALUATE)
    runs.report(begun(third), runs.evaluated(third))
    assert runs.finisher.tick()
    run = runs.run(run_id)
    assert (run.status, run.error_code) == (RunStatus.SUCCEEDED, None)
    assert run.finished_at is not None
    assert run.train_seconds == 7.5 + 7.5 + 1.0
    with runs.rig.database.read() as connection:
        style = access.find_style(connection, "mine", tenant=TENANT)
    assert style is not None
    assert (style.version, style.tenant, style.card["run"]) == (run.version, TENANT, run_id)
    assert style.card["final_losses"] == {
        "content": 2.0,
        "style": 1.0,
        "tv": 0.5,
        "stability": 0.0,
        "shift": 0.0,
        "grid": 0.0,
        "total": 3.5,
        "mean_of_last_steps": 100,
    }
    runs.tick()
    assert runs.take() is None


def test_an_unpublished_style_is_visible_to_its_tenant_only(runs: RunRig) -> None:
    run_id = runs.add(publish=False)
    runs.finish(run_id)
    version = runs.run(run_id).version
    with runs.rig.database.read() as connection:
        assert access.find_style(connection, "mine", tenant=TENANT) is None
        assert [row.version for row in versions.list_versions(connection, "mine", tenant=TENANT)] == [version]
        assert versions.list_versions(connection, "mine", tenant="stranger") == []


@pytest.mark.parametrize(("name", "tenant"), [("great_wave", SHIPPED), ("theirs", "stranger")])
def test_a_run_never_changes_the_style_of_another_tenant(runs: RunRig, name: str, tenant: str) -> None:
    run_id = runs.add(name=name)
    row = access.StyleRow(name=name, version="1" * 64, weights="s3://nst/w", card={}, tenant=tenant)
    with runs.rig.database.write() as connection:
        access.put_style(connection, row, now=0.0)
    runs.finish(run_id)
    run = runs.run(run_id)
    assert run.status is RunStatus.SUCCEEDED
    with runs.rig.database.read() as connection:
        assert access.find_style(connection, name, tenant="stranger") == row
        own = access.find_style(connection, name, tenant=TENANT)
    assert own is not None
    assert own.version == (row.version if tenant == SHIPPED else run.version)


def test_two_deliveries_of_a_segment_have_one_effect(runs: RunRig) -> None:
    run_id = runs.add()
    segment = runs.next()
    first, second = runs.trained(segment, 40, nonce="a"), runs.trained(segment, 50, nonce="b")
    runs.report(begun(segment), begun(segment, "w2"), first, second, first)
    run = runs.run(run_id)
    assert (run.step, run.checkpoint) == (40, first.checkpoint)
    runs.tidier.tick()
    assert runs.stored(run_id, "checkpoints/") == ["00000040-1-a.safetensors"]


def test_events_of_an_outdated_attempt_are_dropped(runs: RunRig) -> None:
    run_id = runs.add()
    old = runs.next()
    runs.report(begun(old), going(old, 20))
    runs.rig.clock.advance(LEASE_S + 1)
    new = runs.next()
    assert new.attempt == 2
    runs.report(going(old, 25), runs.trained(old, 60), broken(old, retryable=False))
    run = runs.run(run_id)
    assert (run.step, run.checkpoint, run.status, run.failures) == (0, None, RunStatus.RUNNING, 1)
    assert runs.rig.broker.is_outdated(run_id, old.attempt)
    runs.report(begun(new), runs.trained(new, 60))
    assert runs.run(run_id).step == 60


def test_a_silent_worker_costs_one_segment_and_is_replaced_at_once(runs: RunRig) -> None:
    run_id = runs.add()
    runs.train_to(run_id, 30)
    segment = runs.next()
    runs.report(begun(segment, "w7"), going(segment, 45, losses={"total": 1.0}))
    runs.rig.clock.advance(LEASE_S + 1)
    again = runs.next()
    run = runs.run(run_id)
    assert (again.attempt, again.checkpoint) == (segment.attempt + 1, run.checkpoint)
    assert (run.step, run.failures, run.error_code) == (30, 1, "worker_lost")
    assert run.error_message is not None
    assert "w7" in run.error_message
    assert run.progress is not None
    assert run.progress["step"] == 30, "what was lost is not shown as done"
    runs.report(begun(again), runs.trained(again, 60))
    run = runs.run(run_id)
    assert (run.failures, run.error_code) == (0, None)


def test_progress_renews_the_lease(runs: RunRig) -> None:
    runs.add()
    segment = runs.next()
    runs.report(begun(segment))
    for _ in range(3):
        runs.rig.clock.advance(LEASE_S - 1)
        runs.report(going(segment))
        assert not runs.control.reap()


def test_a_lost_message_is_sent_again_and_not_counted_as_a_failure(runs: RunRig, redis_server: BrokerSettings) -> None:
    run_id = runs.add()
    runs.tick()
    client = make_redis(redis_server)
    client.flushall()
    client.close()
    for _ in range(2):
        runs.tick()
        runs.rig.clock.advance(LOST_AFTER_S + 1)
    segment = runs.next()
    assert (segment.attempt, runs.run(run_id).failures) == (2, 0)


def test_a_lost_message_is_noticed_although_another_waits(rig: Rig) -> None:
    runs = RunRig(rig, max_concurrent=2)
    runs.add()
    runs.add()
    runs.tick()
    lost = runs.take()
    assert lost is not None
    assert not runs.control.reap()
    rig.clock.advance(LOST_AFTER_S)
    assert runs.control.reap()
    runs.tick()
    segments = [runs.take(), runs.take()]
    assert {segment.attempt for segment in segments if segment} == {1, 2}
    assert [segment.run_id for segment in segments if segment and segment.attempt == 2] == [lost.run_id]


def test_a_run_is_not_taken_back_while_events_of_its_worker_are_unread(runs: RunRig) -> None:
    run_id = runs.add()
    runs.rig.events.tick(block_ms=1)
    segment = runs.next()
    assert not runs.control.reap(as_of=runs.rig.events.known_until)
    runs.rig.broker.publish(begun(segment))
    runs.rig.clock.advance(DISPATCH_LEASE_S + LEASE_S)
    assert not runs.control.reap(as_of=runs.rig.events.known_until), "the collector has not looked since"
    assert runs.rig.events.tick(block_ms=1)
    assert not runs.control.reap(as_of=runs.rig.events.known_until)
    assert runs.run(run_id).attempt == segment.attempt


def test_a_message_that_waits_in_the_queue_is_not_sent_twice(runs: RunRig) -> None:
    runs.add()
    runs.tick()
    runs.rig.clock.advance(DISPATCH_LEASE_S - 1)
    runs.tick()
    assert runs.rig.broker.queued(TRAIN_TASK) == 1
    runs.rig.clock.advance(2)
    runs.tick()
    segments = [runs.take(), runs.take()]
    assert [segment.attempt for segment in segments if segment] == [1, 2]


def test_a_temporary_failure_is_retried_after_a_pause_that_doubles(runs: RunRig) -> None:
    run_id = runs.add()
    pauses = []
    for _ in range(7):
        segment = runs.next()
        runs.report(begun(segment), broken(segment, retryable=True))
        pauses.append(runs.run(run_id).not_before - runs.rig.clock())
        runs.tick()
        assert runs.take() is None
        runs.rig.clock.advance(pauses[-1] + 0.001)
    assert pauses == pytest.approx([2, 4, 8, 16, 32, 60, 60])
    run = runs.run(run_id)
    assert (run.status, run.failures, run.error_code) == (RunStatus.RUNNING, 7, "engine_failed")


def test_a_run_fails_with_the_last_code_after_too_many_failures_in_a_row(runs: RunRig) -> None:
    run_id = runs.add()
    for number in range(10):
        segment = runs.next()
        runs.report(begun(segment), broken(segment, retryable=True, code=f"code_{number}"))
        runs.rig.clock.advance(61)
    run = runs.run(run_id)
    assert (run.status, run.error_code, run.error_message) == (RunStatus.FAILED, "code_9", "It broke.")
    assert run.finished_at is not None
    runs.tick()
    assert runs.take() is None


def test_a_permanent_failure_ends_its_run_and_no_other(runs: RunRig) -> None:
    bad, good = runs.add(), runs.add(name="other")
    segment = runs.next()
    runs.report(begun(segment), broken(segment, retryable=False, code="training_diverged"))
    assert (runs.run(bad).status, runs.run(bad).error_code) == (RunStatus.FAILED, "training_diverged")
    runs.finish(good)
    assert runs.run(good).status is RunStatus.SUCCEEDED


def test_a_segment_ended_early_by_a_shutdown_is_not_a_failure(runs: RunRig) -> None:
    run_id = runs.add()
    runs.train_to(run_id, 3)
    segment = runs.next()
    assert segment.checkpoint == runs.run(run_id).checkpoint
    runs.report(begun(segment), finished(segment, step=3))
    runs.tick()
    assert runs.take() is None, "a worker that ends at once is not asked again at once"
    runs.rig.clock.advance(2.001)
    again = runs.next()
    assert (again.checkpoint, runs.run(run_id).failures) == (segment.checkpoint, 0)


def test_a_checkpoint_of_fewer_steps_never_replaces_the_last_good_one(runs: RunRig) -> None:
    run_id = runs.add()
    runs.train_to(run_id, 50)
    good = runs.run(run_id).checkpoint
    segment = runs.next()
    runs.report(begun(segment), runs.trained(segment, 20))
    assert (runs.run(run_id).step, runs.run(run_id).checkpoint) == (50, good)


def test_tenants_take_turns_with_their_runs(runs: RunRig) -> None:
    """The second tenant waits for one run of the first tenant, not for all its earlier submissions."""
    alice = [runs.add(name=f"a{number}") for number in range(3)]
    bob = runs.add(name="b", tenant="bob")
    order = []
    for _ in range(4):
        segment = runs.next()
        order.append(segment.run_id)
        runs.report(begun(segment), runs.trained(segment, 100))
        segment = runs.next()
        assert segment.run_id == order[-1], "a run keeps its turn"
        runs.report(begun(segment), runs.evaluated(segment))
        runs.finisher.tick()
        runs.rig.clock.advance(1)
    assert order == [alice[0], bob, alice[1], alice[2]]


def test_resumed_runs_do_not_go_before_runs_of_another_tenant(runs: RunRig) -> None:
    alice = [runs.add(name=f"a{number}") for number in range(3)]
    for run_id in alice:
        runs.change(run_id, status=RunStatus.RUNNING, claimed_at=runs.rig.clock())
    bob = runs.add(name="b", tenant="bob")
    assert runs.next().run_id == bob


def test_tenants_share_the_places_by_their_weights(rig: Rig) -> None:
    runs = RunRig(rig, max_concurrent=4)
    for number in range(6):
        runs.add(name=f"a{number}")
        runs.add(name=f"b{number}", tenant="bob")
    runs.control._weights = lambda: {"bob": 3.0}
    runs.tick()
    tenants = [runs.run(segment.run_id).tenant for segment in iter(runs.take, None)]
    assert sorted(tenants) == ["bob", "bob", "bob", TENANT]


def test_runs_take_turns_the_oldest_first(runs: RunRig) -> None:
    first, second = runs.add(), runs.add(name="other")
    segment = runs.next()
    assert segment.run_id == first
    runs.report(begun(segment), runs.trained(segment, 50))
    assert runs.next().run_id == first, "between segments no other run takes its place"
    assert runs.run(second).attempt == 0


def test_the_setting_limits_the_number_of_active_runs(rig: Rig) -> None:
    runs = RunRig(rig, max_concurrent=2)
    ids = [runs.add(name=name) for name in "abc"]
    runs.tick()
    found = [runs.take(), runs.take(), runs.take()]
    assert [segment.run_id for segment in found if segment] == ids[:2]


def test_a_paused_run_frees_its_place_for_the_next(runs: RunRig) -> None:
    first, second = runs.add(), runs.add(name="other")
    segment = runs.next()
    runs.report(begun(segment))
    runs.change(first, status=RunStatus.PAUSING, stop=Stop.PAUSE)
    runs.tick()
    assert runs.rig.broker.is_stopped(first, segment.attempt)
    assert not runs.rig.broker.is_stopped(first, segment.attempt + 1)
    end = runs.trained(segment, 10)
    runs.report(end)
    run = runs.run(first)
    assert (run.status, run.stop, run.step, run.checkpoint) == (RunStatus.PAUSED, Stop.NONE, 10, end.checkpoint)
    assert runs.next().run_id == second


def test_a_stop_is_repeated_until_the_worker_reacts(runs: RunRig, redis_server: BrokerSettings) -> None:
    run_id = runs.add()
    segment = runs.next()
    runs.report(begun(segment))
    runs.change(run_id, status=RunStatus.CANCELLING, stop=Stop.CANCEL)
    for _ in range(2):
        client = make_redis(redis_server)
        client.flushall()
        client.close()
        runs.tick()
        assert runs.rig.broker.is_stopped(run_id, segment.attempt)
    assert runs.run(run_id).status is RunStatus.CANCELLING


def test_a_cancelled_run_ends_even_if_its_worker_is_silent(runs: RunRig) -> None:
    run_id = runs.add()
    runs.train_to(run_id, 10)
    kept = runs.run(run_id).checkpoint
    segment = runs.next()
    runs.report(begun(segment))
    runs.change(run_id, status=RunStatus.CANCELLING, stop=Stop.CANCEL)
    runs.rig.clock.advance(LEASE_S + 1)
    runs.tick()
    run = runs.run(run_id)
    assert (run.status, run.checkpoint, run.step) == (RunStatus.CANCELLED, kept, 10)
    assert run.finished_at is not None
    assert runs.take() is None


def test_a_segment_that_no_worker_has_started_is_taken_back_at_once(runs: RunRig) -> None:
    run_id = runs.add()
    runs.tick()
    runs.change(run_id, status=RunStatus.PAUSING, stop=Stop.PAUSE)
    runs.tick()
    assert (runs.run(run_id).status, runs.run(run_id).live) == (RunStatus.PAUSED, SegmentState.NONE)
    segment = runs.take()
    assert segment is not None
    assert runs.rig.broker.is_stopped(run_id, segment.attempt)
    runs.report(begun(segment), runs.trained(segment, 10))
    assert (runs.run(run_id).status, runs.run(run_id).step) == (RunStatus.PAUSED, 0)


def test_a_stop_takes_precedence_over_a_failure(runs: RunRig) -> None:
    run_id = runs.add()
    segment = runs.next()
    runs.report(begun(segment))
    runs.change(run_id, status=RunStatus.PAUSING, stop=Stop.PAUSE)
    runs.report(broken(segment, retryable=False))
    run = runs.run(run_id)
    assert (run.status, run.finished_at, run.error_code) == (RunStatus.PAUSED, None, "engine_failed")


def test_a_stopped_evaluation_is_repeated(runs: RunRig) -> None:
    run_id = runs.add()
    runs.train_to(run_id, 100)
    segment = runs.next()
    runs.report(begun(segment))
    runs.change(run_id, status=RunStatus.PAUSING, stop=Stop.PAUSE)
    runs.report(runs.evaluated(segment))
    assert runs.run(run_id).status is RunStatus.PAUSED
    assert not runs.finisher.tick()
    runs.change(run_id, status=RunStatus.QUEUED)
    runs.finish(run_id)
    assert runs.run(run_id).status is RunStatus.SUCCEEDED


@pytest.mark.parametrize("end", ["silence", "failure"])
def test_a_run_whose_evaluation_was_repeated_ends_without_an_error(runs: RunRig, end: str) -> None:
    run_id = runs.add()
    runs.train_to(run_id, 100)
    segment = runs.next()
    runs.report(begun(segment))
    if end == "failure":
        runs.report(broken(segment, retryable=True, code="blob_unavailable"))
    runs.rig.clock.advance(LEASE_S + 1)
    runs.finish(run_id)
    run = runs.run(run_id)
    assert (run.status, run.failures, run.not_before) == (RunStatus.SUCCEEDED, 0, 0.0)
    assert (run.error_code, run.error_message) == (None, None)
    with runs.rig.database.read() as connection:
        last = event_rows.last_event(connection, run_id)
    assert last is not None
    assert (last.type, last.data["error"]) == (EventType.RUN_COMPLETED, None)


def test_invalid_weights_fail_their_run_and_no_other(runs: RunRig) -> None:
    run_id = runs.add()
    runs.train_to(run_id, 100)
    segment = runs.next()
    end = runs.evaluated(segment)
    assert end.result is not None
    runs.put(end.result.weights.uri, b"no weights")
    runs.report(begun(segment), end)
    assert runs.finisher.tick()
    assert (runs.run(run_id).status, runs.run(run_id).error_code) == (RunStatus.FAILED, "weights_invalid")
    other = runs.add(name="other")
    runs.finish(other)
    assert runs.run(other).status is RunStatus.SUCCEEDED


def test_a_run_stopped_while_it_is_finished_does_not_end_twice(runs: RunRig) -> None:
    run_id = runs.add()
    runs.train_to(run_id, 100)
    segment = runs.next()
    runs.report(begun(segment), runs.evaluated(segment))
    stale = runs.run(run_id)
    runs.change(run_id, status=RunStatus.CANCELLED)
    runs.finisher._finish(stale)
    assert runs.run(run_id).status is RunStatus.CANCELLED
    with runs.rig.database.read() as connection:
        assert access.find_style(connection, "mine", tenant=TENANT) is None


def test_the_newest_checkpoints_and_one_per_thousand_steps_are_kept(runs: RunRig) -> None:
    run_id = runs.add(steps=4000)
    for step in (400, 900, 1100, 1600, 2050, 2400, 2700, 2900):
        runs.train_to(run_id, step)
        while runs.tidier.tick():
            pass
    assert runs.steps_kept(run_id) == [1100, 2050, 2400, 2700, 2900]
    names = runs.stored(run_id, "checkpoints/")
    assert [int(name.partition("-")[0]) for name in names] == [1100, 2050, 2400, 2700, 2900]


def test_only_objects_that_can_no_longer_be_accepted_are_removed(runs: RunRig) -> None:
    run_id = runs.add()
    old = runs.next()
    runs.report(begun(old))
    runs.rig.clock.advance(LEASE_S + 1)
    live = runs.next()
    runs.report(begun(live))
    runs.trained(old, 15, nonce="late")
    end = runs.trained(live, 20)
    runs.put(f"{live.place}checkpoints/notes.txt", b"not ours")
    assert runs.tidier.tick()
    assert runs.stored(run_id, "checkpoints/") == ["00000020-2-n.safetensors", "notes.txt"]
    runs.report(end)
    runs.finish(run_id)
    while runs.tidier.tick():
        pass
    names = runs.stored(run_id, "checkpoints/")
    assert names == ["00000020-2-n.safetensors", "00000100-3-n.safetensors", "notes.txt"]
    assert runs.stored(run_id, "losses/") == ["2-n.csv", "3-n.csv"], "those of the attempt that was lost are gone"


def test_results_that_were_replaced_or_lost_are_removed(runs: RunRig) -> None:
    run_id = runs.add()
    runs.finish(run_id)
    assert runs.tidier.tick()
    assert runs.stored(run_id, "result/") == ["2-n.jpg", "2-n.safetensors"]
    runs.change(run_id, **changes.extend(runs.run(run_id), 200))
    runs.train_to(run_id, 200)
    lost = runs.next()
    runs.report(begun(lost))
    runs.evaluated(lost, nonce="lost")
    runs.rig.clock.advance(LEASE_S + 1)
    # Those of an attempt that began after the tidier looked, and of workers that named them otherwise.
    others = ["6-n.jpg", "sheet-0123456789ab.jpg"]
    for name in others:
        runs.put(f"{lost.place}result/{name}", b"sheet")
    runs.finish(run_id)
    while runs.tidier.tick():
        pass
    assert runs.stored(run_id, "result/") == ["5-n.jpg", "5-n.safetensors", *others]
    assert runs.run(run_id).version is not None
