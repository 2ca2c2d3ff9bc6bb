"""Tests of scheduler.webhooks.deliver."""

import json

import pytest

from nst_core.client.resources.webhooks import DeliveryStatus
from scheduler.store.webhooks import Delivery, Webhook
from scheduler.webhooks.deliver import (
    DELAYS_S,
    FAILING_S,
    MAX_BODY_BYTES,
    TEST_TYPE,
    after_try,
    message_body,
)
from scheduler.webhooks.send import Answer

NOW = 1_800_000_000.0


def test_messages_are_ascii_and_bounded() -> None:
    assert json.loads(message_body("job.created", NOW, {"id": "ü\u2028"}))["data"] == {"id": "ü\u2028"}
    assert message_body("job.created", NOW, {"id": "ü\u2028"}).isascii()
    body = message_body("job.created", NOW, {"id": "job_1", "status": "failed", "error": {"message": "ü" * 20_000}})
    assert len(body) <= MAX_BODY_BYTES
    assert json.loads(body)["data"] == {"id": "job_1", "status": "failed", "truncated": True}


def webhook(*, failing_since: float | None = None) -> Webhook:
    return Webhook(
        id="whk_1",
        tenant="t",
        url="https://example.com/",
        types=["*"],
        description="",
        enabled=True,
        disabled_reason=None,
        secret="",
        old_secret=None,
        old_secret_until=None,
        failing_since=failing_since,
        created_at=NOW,
    )


def delivery(*, failures: int = 0, type: str = "job.completed") -> Delivery:
    return Delivery(
        id=1,
        webhook_id="whk_1",
        message_id="msg_1",
        type=type,
        body=b"{}",
        status=DeliveryStatus.PENDING,
        error=None,
        failures=failures,
        tries=[],
        next_at=NOW,
        claims=1,
        created_at=NOW,
        done_at=None,
    )


@pytest.mark.parametrize(("random", "factor"), [(0.0, 0.9), (0.5, 1.0), (1.0, 1.1)])
def test_pauses_follow_the_schedule_within_a_tenth(random: float, factor: float) -> None:
    for failures, delay_s in enumerate(DELAYS_S[1:]):
        note = after_try(webhook(), delivery(failures=failures), Answer(status=500), now=NOW, random=random)
        assert note.delivery["next_at"] - NOW == pytest.approx(delay_s * factor)
        assert "status" not in note.delivery
    note = after_try(webhook(), delivery(failures=9), Answer(status=500), now=NOW, random=random)
    assert note.delivery["status"] is DeliveryStatus.FAILED


@pytest.mark.parametrize(
    ("status", "retry_after_s", "pause_s"),
    [(503, 60.0, 60.0), (429, 60.0, 60.0), (503, 1.0, 5.0), (503, 1e9, 86400.0), (500, 60.0, 5.0), (503, None, 5.0)],
)
def test_retry_after_only_lengthens_a_pause_up_to_a_day(
    status: int, retry_after_s: float | None, pause_s: float
) -> None:
    answer = Answer(status=status, retry_after_s=retry_after_s)
    note = after_try(webhook(), delivery(), answer, now=NOW, random=0.5)
    assert note.delivery["next_at"] == NOW + pause_s


@pytest.mark.parametrize("status", [100, 199, 300, 304, 404, 500, None])
def test_only_2xx_is_success(status: int | None) -> None:
    note = after_try(webhook(), delivery(), Answer(status=status), now=NOW, random=0.5)
    assert note.delivery["failures"] == 1
    assert note.webhook == {"failing_since": NOW}
    done = after_try(webhook(failing_since=NOW), delivery(), Answer(status=299), now=NOW, random=0.5)
    assert (done.delivery["status"], done.webhook) == (DeliveryStatus.DELIVERED, {"failing_since": None})


def test_five_days_of_failures_disable_and_410_at_once_and_tests_never() -> None:
    def disabled(
        status: int, *, since: float | None, type: str = "job.completed", failures: int = len(DELAYS_S) - 1
    ) -> str | None:
        last = delivery(type=type, failures=failures)
        note = after_try(webhook(failing_since=since), last, Answer(status=status), now=NOW, random=0.5)
        return note.webhook.get("disabled_reason")

    assert disabled(500, since=None) is None
    assert disabled(500, since=NOW - FAILING_S + 1) is None
    assert disabled(500, since=NOW - FAILING_S) == "failing"
    assert disabled(500, since=NOW - FAILING_S, failures=0) is None, "it may have heard of nothing for days"
    assert disabled(410, since=None) == "gone"
    assert disabled(500, since=NOW - FAILING_S, type=TEST_TYPE) is None
