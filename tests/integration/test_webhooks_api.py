"""Webhooks in the API: created, changed, listed, tested, replayed, and visible to their tenant only."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from fastapi.testclient import TestClient

from scheduler.api.app import make_api
from scheduler.domain.keys import new_api_key
from scheduler.webhooks import service as webhook_service
from scheduler.webhooks.service import MAX_WEBHOOKS
from tests.integration.conftest import TENANT, Rig
from tests.integration.receiver import Certificates, Receiver
from tests.integration.webhook_kit import Post


@pytest.fixture
def post(rig: Rig, certificates: Certificates) -> Post:
    return Post(rig, certificates)


def client_of(post: Post, *, tenant: str = TENANT) -> TestClient:
    rig, key = post.rig, new_api_key()
    rig.service.keys.add(key, tenant=tenant)
    api = make_api(
        rig.service,
        database=rig.database,
        broker=rig.broker,
        blobs=rig.blobs,
        clock=rig.clock,
        webhook_service=post.service,
    )
    return TestClient(api, headers={"Authorization": f"Bearer {key}"}, raise_server_exceptions=False)


@pytest.fixture
def client(post: Post) -> Iterator[TestClient]:
    with client_of(post) as client:
        yield client


def test_a_webhook_is_created_shown_changed_and_deleted(client: TestClient) -> None:
    body = {"url": "https://example.com/hook", "types": ["job.completed", "job.completed"], "description": "Gallery"}
    answer = client.post("/v1/webhooks", json=body)
    assert (answer.status_code, answer.headers["Cache-Control"]) == (201, "no-store")
    made = answer.json()
    assert made.pop("secret").startswith("whsec_")
    assert (made["types"], made["enabled"], made["disabled_reason"]) == (["job.completed"], True, None)
    path = answer.headers["Location"]
    assert client.get(path).json() == made
    changed = client.patch(path, json={"enabled": False, "types": ["*"]}).json()
    assert changed == made | {"enabled": False, "types": ["*"]}
    rotated = client.post(f"{path}/rotate").json()
    assert rotated["secret"].startswith("whsec_")
    assert rotated["old_secret_until"] is not None
    assert "secret" not in client.get(path).json()
    assert client.delete(path).status_code == 204
    assert client.get(path).status_code == 404


def test_webhooks_and_deliveries_are_listed_newest_first_in_pages(client: TestClient, post: Post, rig: Rig) -> None:
    ids = []
    for _ in range(3):
        rig.clock.advance(1)
        ids.append(client.post("/v1/webhooks", json={"url": "https://example.com/"}).json()["id"])
    first = client.get("/v1/webhooks", params={"limit": 2}).json()
    assert ([each["id"] for each in first["data"]], first["has_more"]) == (ids[:0:-1], True)
    rest = client.get("/v1/webhooks", params={"limit": 2, "after_id": first["last_id"]}).json()
    assert ([each["id"] for each in rest["data"]], rest["has_more"]) == (ids[:1], False)
    tests = [client.post(f"/v1/webhooks/{ids[0]}/test").json()["id"] for _ in range(3)]
    page = client.get(f"/v1/webhooks/{ids[0]}/deliveries", params={"limit": 2}).json()
    assert ([each["id"] for each in page["data"]], page["has_more"]) == (tests[:0:-1], True)
    rest = client.get(f"/v1/webhooks/{ids[0]}/deliveries", params={"after_id": page["last_id"]}).json()
    assert [each["id"] for each in rest["data"]] == tests[:1]


def test_a_test_message_is_sent_once_and_can_be_replayed(client: TestClient, post: Post, receiver: Receiver) -> None:
    webhook_id, _ = post.add(receiver, "job.completed")
    receiver.answer(404, 204)
    made = client.post(f"/v1/webhooks/{webhook_id}/test")
    assert (made.status_code, made.json()["status"], made.json()["tries"]) == (202, "pending", [])
    post.deliver()
    path = f"/v1/webhooks/{webhook_id}/deliveries/{made.json()['id']}"
    failed = client.get(path).json()
    assert (failed["status"], failed["error"], failed["next_try_at"]) == ("failed", "The receiver answered 404.", None)
    assert [each["status"] for each in failed["tries"]] == [404]
    assert client.post(f"{path}/replay").json()["status"] == "pending"
    post.deliver()
    delivered = client.get(path).json()
    assert (delivered["status"], [each["status"] for each in delivered["tries"]]) == ("delivered", [404, 204])
    client.post(f"{path}/replay")
    post.deliver()
    assert len(receiver.received) == 3  # even a delivered one
    assert client.get(f"/v1/webhooks/{webhook_id}/deliveries", params={"status": "failed"}).json()["data"] == []


def test_failed_messages_since_a_time_are_replayed(
    client: TestClient, post: Post, rig: Rig, receiver: Receiver
) -> None:
    webhook_id, _ = post.add(receiver, "job.completed")
    client.post(f"/v1/webhooks/{webhook_id}/test")
    receiver.answer(500)
    post.deliver()
    path = f"/v1/webhooks/{webhook_id}/replay"
    assert client.post(path, params={"since": "2100-01-01T00:00:00Z"}).json() == {"replayed": 0}
    assert client.post(path).json() == {"replayed": 1}
    assert client.post(path, params={"since": "yesterday"}).status_code == 422
    client.patch(f"/v1/webhooks/{webhook_id}", json={"enabled": False})
    for refused in (path, f"/v1/webhooks/{webhook_id}/test"):
        assert client.post(refused).json()["code"] == "conflict"


def test_many_messages_are_replayed_failed_and_removed(
    client: TestClient, post: Post, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook_service, "_AT_ONCE", 2)
    webhook_id, _ = post.add(receiver, "job.completed")
    other_id, _ = post.add(receiver, "job.completed")
    path = f"/v1/webhooks/{webhook_id}"
    for each in (webhook_id, *[webhook_id] * 4, other_id):
        client.post(f"/v1/webhooks/{each}/test")
    client.patch(path, json={"enabled": False})
    assert [each.status for each in post.log(webhook_id)] == ["failed"] * 5
    assert [each.status for each in post.log(other_id)] == ["pending"]
    client.patch(path, json={"enabled": True})
    assert client.post(f"{path}/replay").json() == {"replayed": 5}
    assert [each.status for each in post.log(webhook_id)] == ["pending"] * 5
    assert client.delete(path).status_code == 204
    assert client.get(f"{path}/deliveries").status_code == 404
    assert len(post.log(other_id)) == 1


def test_webhooks_that_are_made_at_once_count_each_other(client: TestClient, rig: Rig) -> None:
    with ThreadPoolExecutor(8) as pool:
        make = partial(client.post, "/v1/webhooks", json={"url": "https://example.com/"})
        answers = list(pool.map(lambda _: make().status_code, range(MAX_WEBHOOKS + 6)))
    assert sorted(answers) == [201] * MAX_WEBHOOKS + [409] * 6


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"url": "http://example.com/"}, "/url"),
        ({"url": "https://169.254.169.254/latest/meta-data/"}, "/url"),
        ({"url": "https://2130706433/"}, "/url"),
        ({"url": "https://user:password@example.com/"}, "/url"),
        ({"url": ""}, "/url"),
        ({"types": []}, "/types"),
        ({"types": ["job.exploded"]}, "/types"),
        ({"description": "x" * 501}, "/description"),
        ({"secret": "whsec_mine"}, "/secret"),
    ],
)
def test_wrong_field_is_a_problem_that_points_to_the_field(
    client: TestClient, changes: dict[str, Any], pointer: str
) -> None:
    made = client.post("/v1/webhooks", json={"url": "https://example.com/"}).json()
    answers = [
        client.post("/v1/webhooks", json={"url": "https://example.com/"} | changes),
        client.patch(f"/v1/webhooks/{made['id']}", json=changes),
    ]
    for answer in answers:
        assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")
        assert pointer in [error["pointer"] for error in answer.json()["errors"]]
    assert client.get(f"/v1/webhooks/{made['id']}").json()["url"] == "https://example.com/"


def test_the_number_of_webhooks_of_a_tenant_is_limited(client: TestClient) -> None:
    for _ in range(MAX_WEBHOOKS):
        assert client.post("/v1/webhooks", json={"url": "https://example.com/"}).status_code == 201
    assert client.post("/v1/webhooks", json={"url": "https://example.com/"}).json()["code"] == "conflict"


def test_another_tenants_webhook_is_not_found_on_any_route(client: TestClient, post: Post, receiver: Receiver) -> None:
    webhook_id, _ = post.add(receiver)
    delivery_id = client.post(f"/v1/webhooks/{webhook_id}/test").json()["id"]
    paths = client.get("/openapi.json").json()["paths"]
    routes = [(method, path) for path, methods in paths.items() for method in methods if "{webhook_id}" in path]
    assert len(routes) == 9
    with client_of(post, tenant="stranger") as stranger:
        for method, path in routes:
            body = {"enabled": False} if method == "patch" else None
            answer = stranger.request(method, path.format(webhook_id=webhook_id, delivery_id=delivery_id), json=body)
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), (method, path)
        assert stranger.get("/v1/webhooks").json()["data"] == []
        own = stranger.post("/v1/webhooks", json={"url": "https://example.com/"}).json()["id"]
        crossed = stranger.get(f"/v1/webhooks/{own}/deliveries/{delivery_id}")
        assert crossed.status_code == 404
    assert post.service.get(TENANT, webhook_id).enabled


def test_every_route_says_that_webhooks_are_disabled_if_no_key_is_set(rig: Rig, certificates: Certificates) -> None:
    with client_of(Post(rig, certificates, keys=None)) as client:
        for answer in (
            client.get("/v1/webhooks"),
            client.post("/v1/webhooks", json={"url": "https://example.com/"}),
            client.get("/v1/webhooks/whk_1"),
            client.post("/v1/webhooks/whk_1/deliveries/1/replay"),
        ):
            assert (answer.status_code, answer.json()["code"]) == (503, "webhooks_disabled")
            assert "Retry-After" not in answer.headers
