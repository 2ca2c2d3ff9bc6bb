"""Tests of scheduler.control.metrics."""

from collections import Counter

from prometheus_client import CollectorRegistry

from nst_core.client.resources.items import ItemStatus
from nst_core.metrics import TickOutcome
from scheduler.control.lost_messages import Loss
from scheduler.control.metrics import TRAIN, Metrics


def test_counters_are_there_from_the_start() -> None:
    registry = CollectorRegistry()
    Metrics(registry, methods=["feedforward"])
    value = registry.get_sample_value
    for outcome in ("succeeded", "failed"):
        assert value("nst_items_total", {"method": "feedforward", "outcome": outcome}) == 0
        assert value("nst_webhook_tries_total", {"outcome": outcome}) == 0
    for method in ("feedforward", TRAIN):
        assert value("nst_attempts_total", {"method": method}) == 0
        for reason in ("worker_silent", "not_started", "message_lost"):
            assert value("nst_leases_lost_total", {"method": method, "reason": reason}) == 0


def test_images_count_when_they_end_and_not_when_they_begin_or_are_cancelled() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    changes = {ItemStatus.RUNNING: -4, ItemStatus.SUCCEEDED: 3, ItemStatus.FAILED: 1, ItemStatus.CANCELLED: 2}
    metrics.ended("optimize", changes, pixels=60)
    metrics.ended("optimize", Counter({ItemStatus.FAILED: -1, ItemStatus.PENDING: 1}))
    counts = {
        sample.labels["outcome"]: sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == "nst_items_total"
    }
    assert counts == {"succeeded": 3, "failed": 1}
    assert registry.get_sample_value("nst_pixels_total", {"method": "optimize"}) == 60


def test_ticks_and_requests_have_their_times() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    metrics.ticked("plan", 0.5, TickOutcome.WORKED)
    metrics.answered("/v1/jobs/{job_id}", "GET", 200, 0.02)
    value = registry.get_sample_value
    assert value("nst_loop_tick_seconds_sum", {"loop": "plan", "outcome": "worked"}) == 0.5
    labels = {"route": "/v1/jobs/{job_id}", "method": "GET", "status": "200"}
    assert value("nst_http_request_seconds_count", labels) == 1
    assert value("nst_http_request_seconds_bucket", labels | {"le": "0.01"}) == 0
    assert value("nst_http_request_seconds_bucket", labels | {"le": "0.025"}) == 1


def test_a_lost_lease_has_its_reason() -> None:
    registry = CollectorRegistry()
    Metrics(registry).lost("feedforward", Loss.MESSAGE_LOST)
    assert registry.get_sample_value("nst_leases_lost_total", {"method": "feedforward", "reason": "message_lost"}) == 1
