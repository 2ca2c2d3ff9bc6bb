"""Webhooks, from event to HTTPS server: messages, attempts, disabling, replays, secrets, several schedulers."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler

import pytest

from nst_core import __version__
from nst_core.client import signing
from nst_core.client.resources.webhooks import DeliveryStatus
from scheduler.store import webhooks as rows
from scheduler.webhooks.deliver import DELAYS_S, FAILING_S, SLOTS, Deliverer
from scheduler.webhooks.vault import Vault
from tests.integration.conftest import TENANT, FakeClock, Rig
from tests.integration.receiver import Certificates, Receiver, receiving, reply
from tests.integration.webhook_kit import DAY_S, KEY, OTHER_KEY, Post, cancelled


@pytest.fixture
def post(rig: Rig, certificates: Certificates) -> Post:
    return Post(rig, certificates)


def test_an_event_is_sent_as_a_signed_standard_webhook(post: Post, rig: Rig, receiver: Receiver) -> None:
    webhook_id, secret = post.add(receiver, "job.completed")
    job_id = cancelled(rig)
    post.deliver()
    [request] = receiver.received
    message_id = signing.verify(secret, request.headers, request.body, now=rig.clock())
    message = json.loads(request.body)
    assert set(message) == {"type", "timestamp", "data"}
    assert (message["type"], message["data"]["id"], message["data"]["status"]) == ("job.completed", job_id, "cancelled")
    assert request.headers["User-Agent"] == f"nst/{__version__}"
    assert request.headers["Content-Type"] == "application/json"
    [delivery] = post.log(webhook_id)
    assert (delivery.status, delivery.message_id, delivery.body) == (DeliveryStatus.DELIVERED, message_id, request.body)
    assert [(each["status"], each["error"]) for each in delivery.tries] == [(204, None)]
    assert (post.tries("succeeded"), post.tries("failed")) == (1, 0)


def test_webhooks_get_the_chosen_events_of_their_tenant_from_their_creation_on(
    post: Post, rig: Rig, receiver: Receiver
) -> None:
    cancelled(rig)
    rig.clock.advance(1)
    everything, _ = post.add(receiver)
    some, _ = post.add(receiver, "job.created", "run.completed")
    stranger, _ = post.add(receiver, tenant="stranger")
    cancelled(rig)
    post.deliver()
    assert [each.type for each in post.log(everything)] == [
        "job.created",
        "job.cancelling",
        "job.finalizing",
        "job.completed",
    ]
    assert [each.type for each in post.log(some)] == ["job.created"]
    assert post.log(some)[0].message_id == post.log(everything)[0].message_id
    assert post.service.deliveries("stranger", stranger, limit=10) == []


def test_a_failed_message_is_retried_on_schedule_with_the_same_id_and_bytes(
    post: Post, rig: Rig, receiver: Receiver
) -> None:
    webhook_id, secret = post.add(receiver, "job.completed")
    receiver.answer(500)
    cancelled(rig)
    post.deliver()
    for delay_s in DELAYS_S[1:]:
        count = len(receiver.received)
        rig.clock.advance(delay_s - 1)
        post.deliver()
        assert len(receiver.received) == count
        rig.clock.advance(1)
        post.deliver()
        assert len(receiver.received) == count + 1
        signing.verify(secret, receiver.received[-1].headers, receiver.received[-1].body, now=rig.clock())
    rig.clock.advance(5 * DAY_S)
    post.deliver()
    assert len(receiver.received) == len(DELAYS_S) == 10
    assert len({request.body for request in receiver.received}) == 1
    assert len({request.headers["webhook-id"] for request in receiver.received}) == 1
    assert len({request.headers["webhook-timestamp"] for request in receiver.received}) == 10
    [delivery] = post.log(webhook_id)
    assert (delivery.status, delivery.error) == (DeliveryStatus.FAILED, "The receiver answered 500.")
    assert [each["status"] for each in delivery.tries] == [500] * 10


def test_a_receiver_that_returns_after_an_hour_gets_its_message(
    post: Post, rig: Rig, certificates: Certificates
) -> None:
    with receiving(certificates) as gone:
        webhook_id, _ = post.add(gone, "job.completed")
    cancelled(rig)
    post.deliver()
    [delivery] = post.log(webhook_id)
    assert "The connection failed" in (delivery.error or "")
    with receiving(certificates) as back:
        post.service.update(TENANT, webhook_id, {"url": back.url})
        for _ in range(4):
            rig.clock.advance(1800)
            post.deliver()
        assert [request.headers["webhook-id"] for request in back.received] == [delivery.message_id]
    assert post.log(webhook_id)[0].status is DeliveryStatus.DELIVERED
    assert post.service.get(TENANT, webhook_id).failing_since is None


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_delays_the_next_attempt(post: Post, rig: Rig, receiver: Receiver, status: int) -> None:
    post.add(receiver, "job.completed")
    receiver.answer(status, headers={"Retry-After": "600"})
    receiver.answer(204)
    cancelled(rig)
    post.deliver()
    rig.clock.advance(599)
    post.deliver()
    assert len(receiver.received) == 1
    rig.clock.advance(1)
    post.deliver()
    assert len(receiver.received) == 2


def test_a_receiver_that_answers_gone_gets_no_more_messages(post: Post, rig: Rig, receiver: Receiver) -> None:
    webhook_id, _ = post.add(receiver, "job.completed")
    receiver.answer(500, 410)
    cancelled(rig)
    post.deliver()
    cancelled(rig)
    post.deliver()
    webhook = post.service.get(TENANT, webhook_id)
    assert (webhook.enabled, webhook.disabled_reason) == (False, "gone")
    assert [each.status for each in post.log(webhook_id)] == [DeliveryStatus.FAILED] * 2
    cancelled(rig)
    rig.clock.advance(DAY_S)
    post.deliver()
    assert len(receiver.received) == 2


def test_a_webhook_that_fails_for_five_days_is_disabled_and_can_be_enabled_and_replayed(
    post: Post, rig: Rig, receiver: Receiver
) -> None:
    webhook_id, _ = post.add(receiver, "job.completed")
    receiver.answer(500)
    began = rig.clock()
    while post.service.get(TENANT, webhook_id).enabled:
        assert rig.clock() - began < FAILING_S + 2 * DAY_S
        cancelled(rig)
        post.deliver()
        rig.clock.advance(DAY_S / 2)
    assert rig.clock() - began >= FAILING_S
    webhook = post.service.get(TENANT, webhook_id)
    assert webhook.disabled_reason == "failing"
    assert {each.status for each in post.log(webhook_id)} == {DeliveryStatus.FAILED}
    receiver.answers.clear()
    receiver.received.clear()
    webhook = post.service.update(TENANT, webhook_id, {"enabled": True})
    assert (webhook.enabled, webhook.disabled_reason, webhook.failing_since) == (True, None, None)
    since = began + DAY_S
    wanted = [each for each in post.log(webhook_id) if each.created_at >= since]
    assert post.service.replay_failed(TENANT, webhook_id, since=since) == len(wanted) > 0
    post.deliver()
    assert {each.headers["webhook-id"] for each in receiver.received} == {each.message_id for each in wanted}


def test_a_success_in_between_keeps_a_webhook_enabled(post: Post, rig: Rig, receiver: Receiver) -> None:
    webhook_id, _ = post.add(receiver, "job.completed")
    for _ in range(8):
        receiver.answers.clear()
        receiver.answer(500, 204)
        cancelled(rig)
        post.deliver()
        rig.clock.advance(DAY_S)
        post.deliver()
    assert post.service.get(TENANT, webhook_id).enabled


def test_both_secrets_sign_for_a_day_after_a_rotation(post: Post, rig: Rig, receiver: Receiver) -> None:
    webhook_id, old = post.add(receiver, "job.completed")
    _, new = post.service.rotate(TENANT, webhook_id)
    cancelled(rig)
    post.deliver()
    rig.clock.advance(DAY_S + 1)
    cancelled(rig)
    post.deliver()
    first, second = receiver.received
    for secret in (old, new):
        signing.verify(secret, first.headers, first.body, now=rig.clock() - DAY_S)
    signing.verify(new, second.headers, second.body, now=rig.clock())
    with pytest.raises(signing.SignatureError):
        signing.verify(old, second.headers, second.body, now=rig.clock())


def test_secrets_are_not_stored_as_plain_text(post: Post, rig: Rig, receiver: Receiver) -> None:
    webhook_id, secret = post.add(receiver)
    stored = post.service.get(TENANT, webhook_id).secret
    assert secret[6:20] not in stored
    assert Vault(f"{OTHER_KEY},{KEY}").open(stored) == secret


def test_a_secret_encrypted_with_another_key_is_a_failed_attempt_not_a_crash(
    post: Post, rig: Rig, receiver: Receiver, certificates: Certificates
) -> None:
    webhook_id, _ = post.add(receiver, "job.completed")
    cancelled(rig)
    other = Post(rig, certificates, keys=OTHER_KEY)
    other.deliver()
    assert receiver.received == []
    assert "another key" in (post.log(webhook_id)[0].error or "")


def test_messages_wait_while_no_key_is_set(
    post: Post, rig: Rig, receiver: Receiver, certificates: Certificates
) -> None:
    webhook_id, _ = post.add(receiver, "job.completed")
    cancelled(rig)
    keyless = Post(rig, certificates, keys=None)
    keyless.deliver()
    assert [each.status for each in post.log(webhook_id)] == [DeliveryStatus.PENDING]
    post.deliver()
    assert len(receiver.received) == 1


def test_a_message_is_sent_again_with_the_same_id_if_the_scheduler_dies_after_sending(
    post: Post, rig: Rig, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    webhook_id, _ = post.add(receiver, "job.completed")
    cancelled(rig)
    dying = post.new_deliverer()
    monkeypatch.setattr(dying, "_note", lambda *arguments: None)  # it dies before it can record the answer
    while dying.tick():
        assert dying.wait(timeout_s=30)
    assert len(receiver.received) == 1
    post.deliver()
    assert len(receiver.received) == 1  # the claim is still valid
    rig.clock.advance(61)
    post.deliver()
    assert len(receiver.received) == 2
    assert len({request.headers["webhook-id"] for request in receiver.received}) == 1
    assert post.log(webhook_id)[0].status is DeliveryStatus.DELIVERED


def test_an_outdated_attempt_changes_nothing(post: Post, rig: Rig, receiver: Receiver) -> None:
    webhook_id, _ = post.add(receiver, "job.completed")
    held, release = threading.Event(), threading.Event()

    def hold(handler: BaseHTTPRequestHandler) -> None:
        held.set()
        release.wait(15)
        reply(handler, 500)

    receiver.answers = [hold, lambda handler: reply(handler, 204)]
    cancelled(rig)
    slow = post.new_deliverer()
    slow.tick()
    assert held.wait(15)
    rig.clock.advance(61)  # its claim expires
    post.deliver()
    release.set()
    assert slow.wait(timeout_s=30)
    [delivery] = post.log(webhook_id)
    assert (delivery.status, len(delivery.tries)) == (DeliveryStatus.DELIVERED, 1)


def test_a_slow_receiver_delays_no_other(post: Post, rig: Rig, receiver: Receiver, certificates: Certificates) -> None:
    release = threading.Event()
    busy: list[int] = []
    with receiving(certificates) as slow:

        def hold(handler: BaseHTTPRequestHandler) -> None:
            busy.append(1)
            release.wait(15)
            reply(handler, 204)

        slow.answers = [hold]
        slow_id, _ = post.add(slow, "job.completed")
        quick_id, _ = post.add(receiver, "job.completed")
        for _ in range(12):
            cancelled(rig)
        deadline = time.monotonic() + 20
        while len(receiver.received) < 12 and time.monotonic() < deadline:
            if not post.deliverer.tick():
                time.sleep(0.02)
        assert len(receiver.received) == 12
        assert len(busy) == SLOTS.webhook < SLOTS.total
        release.set()
        assert post.deliverer.wait(timeout_s=30)
        post.deliver()
    assert {each.status for each in [*post.log(quick_id), *post.log(slow_id)]} == {DeliveryStatus.DELIVERED}


def test_many_slow_receivers_of_one_tenant_delay_no_other_tenant(
    post: Post, rig: Rig, receiver: Receiver, certificates: Certificates
) -> None:
    """While twenty receivers of one tenant keep their senders waiting, another tenant gets its message."""
    release = threading.Event()
    busy: list[int] = []
    bob = rig.add_tenant("bob")
    with receiving(certificates) as slow:

        def hold(handler: BaseHTTPRequestHandler) -> None:
            busy.append(1)
            release.wait(30)
            reply(handler, 204)

        slow.answers = [hold]
        for _ in range(20):
            post.add(slow, "job.completed")
        post.add(receiver, "job.created", tenant=bob)
        for _ in range(3):
            cancelled(rig)
        deadline = time.monotonic() + 20
        while len(busy) < SLOTS.tenant and time.monotonic() < deadline:
            if not post.deliverer.tick():
                time.sleep(0.02)
        rig.service.submit(bob, rig.request(1))
        while not receiver.received and time.monotonic() < deadline:
            if not post.deliverer.tick():
                time.sleep(0.02)
        assert len(receiver.received) == 1
        assert len(busy) == SLOTS.tenant
        release.set()
        assert post.deliverer.wait(timeout_s=30)
        post.deliver()


def test_webhook_that_cannot_be_sent_delays_no_other(
    post: Post, rig: Rig, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of one webhook, such as no thread, affects no other. Its message is sent after the claim expires."""
    webhooks = [post.add(receiver, "job.completed")[0] for _ in range(2)]
    cancelled(rig)
    faults = iter([RuntimeError("can't start new thread")])
    start = threading.Thread.start

    def refuse_once(thread: threading.Thread) -> None:
        if thread.name.startswith("webhook-") and (fault := next(faults, None)) is not None:
            raise fault
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse_once)
    post.deliver()
    assert sorted(each.status for id in webhooks for each in post.log(id)) == ["delivered", "pending"]
    rig.clock.advance(120)
    post.deliverer = post.new_deliverer()
    post.deliver()
    assert [each.status for id in webhooks for each in post.log(id)] == ["delivered", "delivered"]


def test_several_schedulers_share_the_work_and_send_each_message_once(
    post: Post, rig: Rig, receiver: Receiver, database_url: str
) -> None:
    webhooks = [post.add(receiver, "job.created", "job.completed")[0] for _ in range(4)]
    for _ in range(6):
        cancelled(rig)
    deliverers = [post.new_deliverer() for _ in range(3)]

    def work(deliverer: Deliverer) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            idle = not deliverer.tick()
            with rig.database.read() as connection:
                logs = [
                    rows.list_deliveries(connection, each, limit=100, after_id=None, status=None) for each in webhooks
                ]
            if all(len(log) == 12 and all(each.status != "pending" for each in log) for log in logs):
                break
            if idle:
                time.sleep(0.02)
        deliverer.wait(timeout_s=30)

    threads = [threading.Thread(target=work, args=(deliverer,)) for deliverer in deliverers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(receiver.received) == 4 * 12
    for webhook_id in webhooks:
        assert [len(each.tries) for each in post.log(webhook_id)] == [1] * 12


def test_only_ended_deliveries_are_pruned(post: Post, rig: Rig, receiver: Receiver) -> None:
    webhook_id, _ = post.add(receiver, "job.completed")
    cancelled(rig)
    post.deliver()
    rig.clock.advance(7 * DAY_S + 1)
    receiver.answer(500)
    cancelled(rig)
    post.deliver()
    assert [each.status for each in post.log(webhook_id)] == [DeliveryStatus.PENDING]


def test_old_deliveries_are_pruned_after_the_clock_was_set_back(post: Post, rig: Rig, receiver: Receiver) -> None:
    webhook_id, _ = post.add(receiver, "job.completed")
    steady = FakeClock(100.0)
    post.deliverer = post.new_deliverer(timer=steady)
    rig.clock.advance(30 * DAY_S)
    post.deliver()
    rig.clock.advance(-30 * DAY_S)
    cancelled(rig)
    post.deliver()
    rig.clock.advance(7 * DAY_S + 1)
    steady.advance(601)
    post.deliver()
    assert post.log(webhook_id) == []


# The HTTP API
