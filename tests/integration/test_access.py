"""Access rules of every route in the OpenAPI document: keys of other tenants, and keys that lack a scope."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from fastapi.testclient import TestClient

from nst_core.client.resources.access import Scope
from scheduler.api.app import make_api
from scheduler.api.openapi import operations
from scheduler.domain.keys import new_api_key
from scheduler.store import styles as access
from scheduler.store.styles import StyleRow
from scheduler.webhooks.address import Rules
from scheduler.webhooks.service import WebhookService
from scheduler.webhooks.vault import Vault
from tests.integration.conftest import Rig
from tests.integration.job_kit import end_with_images
from tests.integration.runs.kit import RunRig

OWNER, STRANGER = "owner", "stranger"
#: A stranger's answer must not name the owner, unless the stranger's own request did.
HIDDEN = (f'"{OWNER}"', f"tenants/{OWNER}/")
VERSION = "5ec0" * 16
VAULT_KEY = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="

Body = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """What a stranger gets when they ask a route for the owner's things."""

    status: int
    #: May have fields in braces, such as the ids of the owner's things.
    body: Body | None = None


MISSING = Case(404)
OWN = Case(200)  # the stranger's own things: none
#: Every route has an entry here.
CASES: dict[tuple[str, str], Case] = {
    ("post", "/v1/jobs"): Case(422, {"input": {"uris": ["{upload}a.jpg"]}, "styles": ["wave"]}),
    ("get", "/v1/jobs"): OWN,
    ("get", "/v1/jobs/{job_id}"): MISSING,
    ("get", "/v1/jobs/{job_id}/items"): MISSING,
    ("get", "/v1/jobs/{job_id}/input"): MISSING,
    ("post", "/v1/jobs/{job_id}/cancel"): MISSING,
    ("delete", "/v1/jobs/{job_id}"): MISSING,
    ("delete", "/v1/runs/{run_id}"): MISSING,
    ("get", "/v1/uploads"): OWN,
    ("get", "/v1/uploads/{upload_id}"): MISSING,
    # The stranger's own upload with the same id, made in an earlier case.
    ("delete", "/v1/uploads/{upload_id}"): Case(204),
    ("get", "/v1/jobs/{job_id}/items/{item_id}/output"): MISSING,
    ("get", "/v1/jobs/{job_id}/items/{item_id}/preview"): MISSING,
    ("get", "/v1/jobs/{job_id}/results"): MISSING,
    ("get", "/v1/jobs/{job_id}/errors"): MISSING,
    ("get", "/v1/jobs/{job_id}/results.zip"): MISSING,
    ("post", "/v1/jobs/{job_id}/pause"): MISSING,
    ("post", "/v1/jobs/{job_id}/resume"): MISSING,
    ("post", "/v1/jobs/{job_id}/retry"): MISSING,
    # Clients cannot choose an id of the form that the server generates, so they cannot take another's.
    ("put", "/v1/jobs/{job_id}"): Case(422, {"input": {"uris": ["s3://nst/a.jpg"]}, "styles": ["wave"]}),
    ("get", "/v1/jobs/{job_id}/events"): MISSING,
    ("get", "/v1/presets"): OWN,
    ("get", "/v1/training-presets"): OWN,
    ("post", "/v1/styles"): Case(422, {"name": "mine", "painting": "{upload}a.jpg", "data": "{upload}"}),
    ("get", "/v1/runs"): OWN,
    ("get", "/v1/runs/{run_id}"): MISSING,
    ("post", "/v1/runs/{run_id}/pause"): MISSING,
    ("post", "/v1/runs/{run_id}/resume"): MISSING,
    ("post", "/v1/runs/{run_id}/cancel"): MISSING,
    ("post", "/v1/runs/{run_id}/publish"): MISSING,
    ("post", "/v1/runs/{run_id}/extend"): Case(404, {"steps": 200}),
    ("post", "/v1/runs/{run_id}/fork"): Case(404, {"steps": 200}),
    ("get", "/v1/runs/{run_id}/losses.csv"): MISSING,
    ("get", "/v1/runs/{run_id}/losses.png"): MISSING,
    ("get", "/v1/runs/{run_id}/samples"): MISSING,
    ("get", "/v1/runs/{run_id}/samples/{file}"): MISSING,
    ("get", "/v1/runs/{run_id}/sheet.jpg"): MISSING,
    ("get", "/v1/runs/{run_id}/painting"): MISSING,
    ("get", "/v1/runs/{run_id}/events"): MISSING,
    ("get", "/v1/styles"): OWN,
    ("get", "/v1/styles/{name}"): MISSING,
    ("get", "/v1/styles/{name}/versions"): MISSING,
    ("get", "/v1/styles/{name}/weights"): MISSING,
    ("put", "/v1/styles/{name}"): Case(422, {"weights": "{upload}a.jpg", "card": {}}),
    ("post", "/v1/styles/{name}/publish"): Case(404, {"version": VERSION}),
    ("delete", "/v1/styles/{name}"): MISSING,
    ("post", "/v1/uploads"): Case(201),
    ("put", "/v1/uploads/{upload_id}"): Case(200),
    ("get", "/v1/uploads/{upload_id}/files"): OWN,
    # The same id below the stranger's own prefix.
    # An earlier case deleted it.
    ("put", "/v1/uploads/{upload_id}/{path}"): Case(409),
    ("post", "/v1/keys"): Case(403, {"name": "k", "scopes": ["jobs:read"], "tenant": OWNER}),
    ("get", "/v1/keys"): OWN,
    ("get", "/v1/keys/{prefix}"): MISSING,
    ("delete", "/v1/keys/{prefix}"): MISSING,
    ("post", "/v1/keys/{prefix}/rotate"): MISSING,
    # The answer does not even say whether the tenant exists.
    ("get", "/v1/tenants"): Case(403),
    ("get", "/v1/tenants/{tenant_id}"): Case(403),
    ("put", "/v1/tenants/{tenant_id}"): Case(403, {"weight": 100}),
    ("get", "/v1/tenant"): OWN,
    ("post", "/v1/webhooks"): Case(201, {"url": "https://example.com/"}),
    ("get", "/v1/webhooks"): OWN,
    ("get", "/v1/webhooks/{webhook_id}"): MISSING,
    ("patch", "/v1/webhooks/{webhook_id}"): Case(404, {"enabled": False}),
    ("delete", "/v1/webhooks/{webhook_id}"): MISSING,
    ("post", "/v1/webhooks/{webhook_id}/rotate"): MISSING,
    ("post", "/v1/webhooks/{webhook_id}/test"): MISSING,
    ("post", "/v1/webhooks/{webhook_id}/replay"): MISSING,
    ("get", "/v1/webhooks/{webhook_id}/deliveries"): MISSING,
    ("get", "/v1/webhooks/{webhook_id}/deliveries/{delivery_id}"): MISSING,
    ("post", "/v1/webhooks/{webhook_id}/deliveries/{delivery_id}/replay"): MISSING,
}
#: What the owner gets. This proves that the stranger's 404 is not a 404 for everybody.
SEEN_BY_OWNER = (
    *("/v1/jobs/{job_id}", "/v1/jobs/{job_id}/items", "/v1/jobs/{job_id}/items/{item_id}/output"),
    *("/v1/jobs/{job_id}/results", "/v1/jobs/{job_id}/errors", "/v1/runs/{run_id}", "/v1/runs/{run_id}/samples"),
    *("/v1/styles/{name}/versions", "/v1/keys/{prefix}", "/v1/jobs/{job_id}/results.zip", "/v1/jobs/{job_id}/events"),
    *("/v1/webhooks/{webhook_id}", "/v1/webhooks/{webhook_id}/deliveries/{delivery_id}"),
)


@dataclass
class World:
    """An owner who has one of everything, and a client without a key."""

    rig: Rig
    client: TestClient
    values: dict[str, str]

    def key(self, tenant: str, scopes: tuple[str, ...] = tuple(Scope)) -> dict[str, str]:
        """Return the header of a new key."""
        key = new_api_key()
        self.rig.service.keys.add(key, tenant=tenant, scopes=scopes)
        return {"Authorization": f"Bearer {key}"}

    def routes(self) -> list[tuple[str, str, dict[str, Any]]]:
        """Return the routes of the document that need a key."""
        document = self.client.get("/openapi.json").json()
        return [each for each in operations(document) if each[2].get("security")]

    def ask(self, method: str, path: str, headers: dict[str, str]) -> Any:
        """Ask a route about the owner's things."""
        body = CASES[method, path].body
        content = {"json": _filled(body, self.values)} if body is not None else {}
        return self.client.request(method, path.format(**self.values), headers=headers, **content)


def _filled(value: Any, values: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {name: _filled(each, values) for name, each in value.items()}
    if isinstance(value, list):
        return [_filled(each, values) for each in value]
    return value.format(**values) if isinstance(value, str) else value


@pytest.fixture
def world(rig: Rig) -> Iterator[World]:
    webhooks = WebhookService(rig.database, vault=Vault(VAULT_KEY), rules=Rules(), clock=rig.clock)
    api = make_api(
        rig.service,
        database=rig.database,
        broker=rig.broker,
        blobs=rig.blobs,
        clock=rig.clock,
        webhook_service=webhooks,
    )
    key = new_api_key()
    rig.service.keys.add(key, tenant=OWNER)
    with TestClient(api, raise_server_exceptions=False) as client:
        job_id = rig.service.submit(rig.add_tenant(OWNER), rig.request(1))[0].id
        end_with_images(rig)
        with rig.database.write() as connection:
            style = StyleRow(name="secret", version=VERSION, weights="s3://nst/w", card={"owner": OWNER}, tenant=OWNER)
            access.put_style(connection, style, now=1.0)
        made = rig.service.uploads.create(OWNER)
        upload_id, upload = made.id, rig.service.uploads.prefix(made)
        webhook = webhooks.create(
            OWNER, url="https://example.com/", types=("*",), description=f'"{OWNER}"', enabled=True
        )[0]
        values = {
            "webhook_id": webhook.id,
            "delivery_id": str(webhooks.test(OWNER, webhook.id).id),
            "job_id": job_id,
            "item_id": "0",
            "run_id": RunRig(rig).add(tenant=OWNER),
            "file": "a.jpg",
            "name": "secret",
            "upload_id": upload_id,
            "upload": upload,
            "path": "a.jpg",
            "prefix": key[4:12],
            "tenant_id": OWNER,
        }
        yield World(rig, client, values)


def test_every_route_has_a_case_and_documents_its_scope(world: World) -> None:
    document = world.client.get("/openapi.json").json()
    open_routes = {(method, path) for path, method, operation in operations(document) if not operation.get("security")}
    assert open_routes == {("get", "/livez"), ("get", "/readyz"), ("get", "/v1/errors")}
    assert {(method, path) for path, method, _ in world.routes()} == set(CASES)
    for path, method, operation in world.routes():
        scopes = [scope for each in operation["security"] for scope in each["HTTPBearer"]]
        without = ("/v1/presets", "/v1/tenant")
        assert set(scopes) <= set(Scope)
        assert bool(scopes) == (path not in without), (method, path)


def test_no_route_gives_a_stranger_the_things_of_another_tenant(world: World) -> None:
    stranger = world.key(STRANGER, tuple(scope for scope in Scope if scope is not Scope.ADMIN))
    for path, method, _ in world.routes():
        answer = world.ask(method, path, stranger)
        assert answer.status_code == CASES[method, path].status, (method, path, answer.text)
        if answer.is_success:
            assert not any(text in answer.text for text in HIDDEN), (method, path, answer.text)
            assert world.values["job_id"] not in answer.text
    owner = world.key(OWNER)
    for path in SEEN_BY_OWNER:
        assert world.ask("get", path, owner).status_code == 200, path
    assert world.client.get(f"/v1/jobs/{world.values['job_id']}", headers=owner).json()["status"] == "succeeded"


def test_every_route_needs_a_valid_key(world: World) -> None:
    keys = world.rig.service.keys
    revoked, expired = world.key(OWNER), world.key(OWNER)
    caller = keys.authenticate(revoked["Authorization"][7:])
    keys.revoke(caller, caller.prefix)
    with world.rig.database.write() as connection:
        from_store = expired["Authorization"][11:19]
        connection.exec_driver_sql(f"UPDATE api_keys SET expires_at = 1.0 WHERE prefix = '{from_store}'")
    wrong = {"Authorization": f"Bearer {new_api_key()}"}
    for headers, code in (
        ({}, "unauthenticated"),
        (wrong, "unauthenticated"),
        ({"Authorization": "Basic bnN0"}, "unauthenticated"),
        ({"Authorization": "Bearer \xff"}, "unauthenticated"),
        (revoked, "key_revoked"),
        (expired, "key_expired"),
    ):
        raw = {name: value.encode("latin-1") for name, value in headers.items()}
        for path, method, _ in world.routes():
            world.rig.clock.advance(2.0)  # requests without a valid key are rate limited
            answer = world.ask(method, path, raw)  # type: ignore[arg-type]
            assert (answer.status_code, answer.json()["code"]) == (401, code), (method, path)
            assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_every_route_refuses_a_key_without_its_scope_and_names_it(world: World) -> None:
    for path, method, operation in world.routes():
        needed = [scope for each in operation["security"] for scope in each["HTTPBearer"]]
        if not needed:
            continue
        lacking = world.key(OWNER, tuple(scope for scope in Scope if scope not in needed))
        answer = world.ask(method, path, lacking)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), (method, path)
        assert all(scope in answer.json()["detail"] for scope in needed)
        for scope in needed:
            allowed = world.ask(method, path, world.key(STRANGER, (scope,)))
            assert allowed.status_code != 401
            # There may be other reasons: a key cannot grant scopes that it lacks, and only admins reach other tenants.
            assert "This needs an API key with the scope" not in allowed.text or scope != Scope.ADMIN, (method, path)
