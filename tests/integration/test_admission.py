"""Rate limits count per tenant, or per address without a valid key. The numbers of keys and tenants are limited."""

import asyncio
import contextlib
import logging
import select
import socket
import time
from collections.abc import Callable

import httpx
import pytest
from fastapi.testclient import TestClient

from scheduler.access import keys as access_keys
from scheduler.access import tenants as access_tenants
from scheduler.access.admission import MOST_FILES_OF_ONE, AnonymousLimiter, Budget
from scheduler.api.app import make_api
from scheduler.api.routes import jobs as job_routes
from scheduler.domain.keys import new_api_key
from scheduler.store.tenants import Tenant
from tests.integration.conftest import Rig
from tests.integration.job_kit import body
from tests.integration.serving import serving

UPLOAD = "upl_" + "0" * 24
Connect = Callable[..., TestClient]


@pytest.fixture
def connect(rig: Rig) -> Connect:
    """Make clients of one app, each with a different address."""
    app = make_api(rig.service, database=rig.database, broker=rig.broker, blobs=rig.blobs, clock=rig.clock)

    def connect(key: str | None = None, *, address: str = "192.0.2.1") -> TestClient:
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        return TestClient(app, headers=headers, client=(address, 5000), raise_server_exceptions=False)

    return connect


def test_many_keys_of_a_tenant_share_one_rate_limit(rig: Rig, connect: Connect) -> None:
    rig.service.tenants.put(Tenant(id="alice", limits={"requests_per_s": 1, "burst": 4}))
    keys = [new_api_key() for _ in range(4)]
    for key in keys:
        rig.service.keys.add(key, tenant="alice")
    rig.service.keys.add(other := new_api_key(), tenant="bob")
    answers = [connect(key).get("/v1/jobs").status_code for key in keys * 2]
    assert answers == [200] * 4 + [429] * 4
    assert connect(other).get("/v1/jobs").status_code == 200


@pytest.mark.parametrize("key", [None, "nonsense", "nst_0123abcd_" + "x" * 43])
def test_requests_without_a_valid_key_are_counted_by_address(rig: Rig, connect: Connect, key: str | None) -> None:
    rig.service.keys.add(good := new_api_key(), tenant="alice")
    stranger = connect(key)
    answers = [stranger.get("/v1/jobs") for _ in range(AnonymousLimiter.BURST + 1)]
    assert {each.status_code for each in answers[:-1]} == {401}
    assert (answers[-1].status_code, answers[-1].json()["code"]) == (429, "rate_limited")
    assert int(answers[-1].headers["Retry-After"]) >= 1
    # A valid key is accepted from the same address, because that may be a proxy.
    assert connect(good).get("/v1/jobs").status_code == 200
    assert connect(key, address="192.0.2.2").get("/v1/jobs").status_code == 401
    rig.clock.advance(2.0)
    assert stranger.get("/v1/jobs").status_code == 401


def test_addresses_of_one_ipv6_network_count_as_one(connect: Connect) -> None:
    answers = [
        connect(address=f"2001:db8:0:1::{number:x}").get("/v1/jobs").status_code
        for number in range(AnonymousLimiter.BURST + 1)
    ]
    assert answers == [401] * AnonymousLimiter.BURST + [429]
    assert connect(address="2001:db8:0:2::1").get("/v1/jobs").status_code == 401


def test_the_number_of_valid_keys_of_a_tenant_is_limited(
    rig: Rig, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access_keys, "_DEAD_KEPT", 2)
    rig.service.tenants.put(Tenant(id="alice", limits={"max_keys": 3}))
    rig.service.keys.add(first := new_api_key(), tenant="alice")
    client = connect(first)

    def create() -> tuple[int, str]:
        rig.clock.advance(1)
        answer = client.post("/v1/keys", json={"name": "another", "scopes": ["jobs:read"]}).json()
        return answer.get("status"), answer.get("id") or answer.get("code")

    made = [create()[1] for _ in range(2)]
    assert create() == (429, "quota_exceeded")
    assert client.delete(f"/v1/keys/{made[0]}").status_code == 204
    made.append(create()[1])
    assert create() == (429, "quota_exceeded")
    # Revoked keys do not accumulate either.
    for _ in range(4):
        client.delete(f"/v1/keys/{made[-1]}")
        made.append(create()[1])
    listed = client.get("/v1/keys").json()["data"]
    assert [each["status"] for each in listed].count("active") == 3
    assert len(listed) <= 3 + 2 + 1
    assert client.get("/v1/jobs").status_code == 200


def test_the_number_of_tenants_is_limited(rig: Rig, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_tenants, "MAX_TENANTS", 2)
    rig.service.keys.add(key := new_api_key(), tenant="default")
    client = connect(key)
    statuses = [client.put(f"/v1/tenants/t{number}", json={}).status_code for number in (1, 2, 3, 2)]
    assert statuses == [200, 200, 429, 200]


def test_a_client_that_disconnects_is_logged_in_one_line(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:

    rig.service.keys.add(key := new_api_key(), tenant="default")
    app = make_api(rig.service, database=rig.database, broker=rig.broker, blobs=rig.blobs, clock=rig.clock)
    path = "/v1/uploads/upl_" + "0" * 24 + "/a.jpg"
    scope = {
        "type": "http",
        "method": "PUT",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(b"authorization", f"Bearer {key}".encode())],
        "client": ("192.0.2.1", 5000),
        "server": ("testserver", 80),
        "scheme": "http",
        "http_version": "1.1",
    }
    messages: list[dict[str, object]] = [
        {"type": "http.request", "body": b"x", "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> dict[str, object]:
        return messages.pop(0)

    async def send(message: object) -> None:
        raise AssertionError(message)

    caplog.set_level(logging.INFO, logger="scheduler")
    asyncio.run(app(scope, receive, send))
    lines = [record for record in caplog.records if record.name.startswith("scheduler")]
    assert len(lines) == 1
    assert lines[0].exc_info is None
    assert path in lines[0].getMessage()


def start_upload(address: str, key: str, *, nbytes: int) -> socket.socket:
    """Begin to send a file of this size, and send half of it."""
    host, _, port = address.removeprefix("http://").partition(":")
    connection = socket.create_connection((host, int(port)), timeout=30)
    head = f"PUT /v1/uploads/{UPLOAD}/{time.time_ns()}.jpg HTTP/1.1\r\nHost: {host}\r\nContent-Length: {nbytes}\r\n"
    connection.sendall(f"{head}Authorization: Bearer {key}\r\n\r\n".encode() + b"x" * (nbytes // 2))
    return connection


def test_a_tenant_sends_a_limited_number_of_files_at_once(rig: Rig) -> None:
    rig.service.keys.add(key := new_api_key(), tenant="alice")
    rig.service.keys.add(other := new_api_key(), tenant="bob")
    api = make_api(rig.service, database=rig.database, broker=rig.broker, blobs=rig.blobs, clock=rig.clock)
    with contextlib.ExitStack() as opened, serving(api) as address:
        alice, bob = (
            opened.enter_context(httpx.Client(base_url=address, headers={"Authorization": f"Bearer {each}"}))
            for each in (key, other)
        )
        for client in (alice, bob):
            assert client.put(f"/v1/uploads/{UPLOAD}").status_code == 200
        slow = {start_upload(address, key, nbytes=1000) for _ in range(MOST_FILES_OF_ONE + 3)}
        for connection in slow:
            opened.callback(connection.close)
        refused: set[socket.socket] = set()
        while len(refused) < 3:
            answered = select.select(slow, [], [], 30)[0]
            assert answered, "all of them were admitted"
            slow.difference_update(answered)
            refused.update(answered)
        for connection in refused:
            assert connection.recv(12) == b"HTTP/1.1 429"
        answer = alice.put(f"/v1/uploads/{UPLOAD}/b.jpg", content=b"one more")
        assert (answer.status_code, answer.json()["code"], answer.headers["Retry-After"]) == (429, "rate_limited", "1")
        assert bob.put(f"/v1/uploads/{UPLOAD}/b.jpg", content=b"of another tenant").status_code == 201
        assert alice.get("/v1/jobs").status_code == 200
        for connection in slow:
            connection.sendall(b"x" * 500)
            assert connection.recv(12) == b"HTTP/1.1 201"
        assert alice.put(f"/v1/uploads/{UPLOAD}/b.jpg", content=b"one more").status_code == 201


def test_a_tenant_makes_a_limited_number_of_dry_runs_at_once(
    client: TestClient, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_routes, "_DRY_RUNS", Budget("dry runs", most=0, most_of_one=0))
    answer = client.post("/v1/jobs?validate=true", json=body(rig))
    assert (answer.status_code, answer.json()["code"]) == (429, "rate_limited")
    assert client.post("/v1/jobs", json=body(rig)).status_code == 202
