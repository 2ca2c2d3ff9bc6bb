"""Webhook calls of the clients against a real HTTP server with prepared answers."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from nst_core.client import Client, DeliveryStatus, UnreachableError
from tests.clients import Connect
from tests.unit.scheduler.canned_api import Answer, CannedApi, canned_api

MOMENT = "2026-11-22T12:00:00Z"
WEBHOOK = {"id": "whk_1", "url": "https://example.com/", "types": ["*"], "created_at": MOMENT}
DELIVERY = {
    "id": 17,
    "message_id": "msg_1",
    "type": "job.completed",
    "created_at": MOMENT,
    "status": "failed",
    "tries": [{"at": MOMENT}],
}
ROOT = "/v1/webhooks/whk_1"


@pytest.fixture
def api() -> Iterator[CannedApi]:
    with canned_api() as server:
        yield server


@pytest.fixture
def client(api: CannedApi, connect: Connect) -> Iterator[Client]:
    with connect(api.url, "nst_key", sleep=lambda seconds: None) as client:
        yield client


def test_webhooks_are_made_changed_listed_and_removed(api: CannedApi, client: Client) -> None:
    secret = {**WEBHOOK, "secret": "whsec_x"}
    api.on("POST", "/v1/webhooks", Answer(status=201, body=secret))
    api.on("POST", f"{ROOT}/rotate", Answer(body={**secret, "secret": "whsec_y"}))
    api.on("GET", ROOT, Answer(body=WEBHOOK))
    api.on("PATCH", ROOT, Answer(body={**WEBHOOK, "enabled": False}))
    api.on("GET", "/v1/webhooks?limit=200", Answer(body={"data": [WEBHOOK]}))
    api.on("DELETE", ROOT, Answer(status=204, body=b""))
    assert client.webhooks.create("https://example.com/").secret == "whsec_x"
    assert client.webhooks.rotate("whk_1").secret == "whsec_y"
    assert client.webhooks.get("whk_1").types == ("*",)
    assert not client.webhooks.update("whk_1", enabled=False).enabled
    assert json.loads(api.requests[-1].body) == {"enabled": False}
    assert [webhook.id for webhook in client.webhooks.all()] == ["whk_1"]
    client.webhooks.delete("whk_1")
    assert api.requests[-1].method == "DELETE"


def test_a_creation_without_an_answer_is_not_repeated(api: CannedApi, client: Client) -> None:
    api.on("POST", "/v1/webhooks", Answer(hang_up=True))
    with pytest.raises(UnreachableError):
        client.webhooks.create("https://example.com/")
    assert len(api.requests) == 1


def test_deliveries_are_read_and_sent_again(api: CannedApi, client: Client) -> None:
    api.on("GET", f"{ROOT}/deliveries?limit=200&status=failed", Answer(body={"data": [DELIVERY]}))
    api.on("GET", f"{ROOT}/deliveries/17", Answer(body=DELIVERY))
    api.on("POST", f"{ROOT}/test", Answer(body={**DELIVERY, "type": "webhook.test"}))
    api.on("POST", f"{ROOT}/deliveries/17/replay", Answer(body={**DELIVERY, "status": "pending"}))
    since = datetime(2026, 11, 22, tzinfo=UTC).astimezone()
    api.on(
        "POST",
        f"{ROOT}/replay?since={since.isoformat().replace(':', '%3A').replace('+', '%2B')}",
        Answer(body={"replayed": 3}),
    )
    assert [delivery.id for delivery in client.webhooks.deliveries("whk_1", status=DeliveryStatus.FAILED)] == [17]
    assert client.webhooks.delivery("whk_1", 17).tries[0].status is None
    assert client.webhooks.test("whk_1").type == "webhook.test"
    assert client.webhooks.replay("whk_1", 17).status == "pending"
    assert client.webhooks.replay_failed("whk_1", since=since) == 3
