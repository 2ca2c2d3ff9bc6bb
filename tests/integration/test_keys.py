"""API keys over HTTP: made, shown once, listed, rotated and revoked, by those who may."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import delete, text

from nst_core.client.resources.access import Scope
from scheduler.access.keys import CACHE_S, Keys
from scheduler.api.app import make_api
from scheduler.domain.errors import KeyExpiredError, KeyRevokedError, UnauthenticatedError
from scheduler.domain.keys import new_api_key
from scheduler.store.keys import ApiKey
from scheduler.store.tables import api_keys
from tests.integration.conftest import Rig

READER = ["jobs:read"]


@pytest.fixture
def api(rig: Rig) -> Iterator[TestClient]:
    app = make_api(rig.service, database=rig.database, broker=rig.broker, blobs=rig.blobs, clock=rig.clock)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def bearer(rig: Rig, *scopes: str, tenant: str = "default") -> dict[str, str]:
    """Return the header of a new key with these scopes, or with all if none is named."""
    key = new_api_key()
    rig.service.keys.add(key, tenant=tenant, scopes=scopes or tuple(Scope))
    return {"Authorization": f"Bearer {key}"}


def make(api: TestClient, headers: dict[str, str], **body: Any) -> Any:
    """Make a key and return the answer."""
    return api.post("/v1/keys", json={"name": "k", "scopes": READER} | body, headers=headers)


def with_key(answer: Any) -> dict[str, str]:
    """Return the header of an existing key."""
    return {"Authorization": f"Bearer {answer.json()['key']}"}


def moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def test_a_key_is_shown_once_and_stored_as_a_hash(api: TestClient, rig: Rig) -> None:
    admin = bearer(rig)
    answer = make(api, admin, name="nightly", expires_at=moment(rig.clock() + 60))
    key = answer.json()
    assert answer.status_code == 201
    assert answer.headers["Location"] == f"/v1/keys/{key['id']}"
    assert answer.headers["Cache-Control"] == "no-store"
    assert key["key"].startswith(f"nst_{key['id']}_")
    shown = api.get(f"/v1/keys/{key['id']}", headers=admin)
    assert shown.json() == {name: value for name, value in key.items() if name != "key"}
    assert (shown.json()["name"], shown.json()["scopes"], shown.json()["status"]) == ("nightly", READER, "active")
    assert shown.headers["Cache-Control"] == "no-store"
    listed = api.get("/v1/keys", headers=admin)
    assert key["key"][13:] not in shown.text + listed.text
    with rig.database.read() as connection:
        rows = connection.execute(text("SELECT * FROM api_keys")).all()
    assert key["key"][13:] not in repr(rows)


def test_a_key_works_until_it_expires(api: TestClient, rig: Rig) -> None:
    key = with_key(make(api, bearer(rig), expires_at=moment(rig.clock() + 60)))
    assert api.get("/v1/jobs", headers=key).status_code == 200
    rig.clock.advance(59.9)
    assert api.get("/v1/jobs", headers=key).status_code == 200
    rig.clock.advance(0.1)
    answer = api.get("/v1/jobs", headers=key)
    assert (answer.status_code, answer.json()["code"]) == (401, "key_expired")


def test_an_expiry_in_the_past_is_refused(api: TestClient, rig: Rig) -> None:
    answer = make(api, bearer(rig), expires_at=moment(rig.clock()))
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/expires_at")
    assert make(api, bearer(rig), expires_at="2030-01-01T00:00:00").status_code == 422  # without a time zone
    assert make(api, bearer(rig), expires_at="9999-12-31T23:59:59-14:00").status_code == 422
    assert api.get("/v1/keys", headers=bearer(rig)).status_code == 200


def test_a_key_cannot_grant_a_scope_that_it_lacks(api: TestClient, rig: Rig) -> None:
    manager = bearer(rig, "keys:write", "jobs:read")
    assert make(api, manager).status_code == 201
    assert make(api, manager, scopes=["keys:write"]).status_code == 201
    for scope in ("jobs:write", "styles:read", "styles:train", "admin"):
        answer = make(api, manager, scopes=["jobs:read", scope])
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
        assert scope in answer.json()["detail"]


def test_rotating_cannot_grant_a_scope_either(api: TestClient, rig: Rig) -> None:
    strong = make(api, bearer(rig), scopes=["jobs:read", "jobs:write"]).json()["id"]
    weak = bearer(rig, "keys:write", "jobs:read")
    answer = api.post(f"/v1/keys/{strong}/rotate", headers=weak)
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert "jobs:write" in answer.json()["detail"]


def test_a_key_that_expires_cannot_make_one_that_is_valid_longer(api: TestClient, rig: Rig) -> None:
    end, later = moment(rig.clock() + 60), moment(rig.clock() + 61)
    brief = with_key(make(api, bearer(rig), scopes=["keys:write", "jobs:read"], expires_at=end))
    for wanted in (None, later):
        answer = make(api, brief, expires_at=wanted)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert make(api, brief, expires_at=end).status_code == 201


def test_a_key_that_expires_can_neither_rotate_nor_revoke_one_that_is_valid_longer(api: TestClient, rig: Rig) -> None:
    admin, scopes = bearer(rig), ["keys:write", "jobs:read"]
    brief = with_key(make(api, admin, scopes=scopes, expires_at=moment(rig.clock() + 60)))
    for end in (None, moment(rig.clock() + 61)):
        longer = make(api, admin, expires_at=end)
        place = f"/v1/keys/{longer.json()['id']}"
        for answer in (api.post(f"{place}/rotate", headers=brief), api.delete(place, headers=brief)):
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
            assert "valid for longer" in answer.json()["detail"]
        assert api.get("/v1/jobs", headers=with_key(longer)).status_code == 200
    same = f"/v1/keys/{make(api, admin, expires_at=moment(rig.clock() + 60)).json()['id']}"
    assert api.post(f"{same}/rotate", headers=brief).status_code == 200
    assert api.delete(same, headers=brief).status_code == 204


def test_a_key_that_expires_can_rotate_and_revoke_itself(api: TestClient, rig: Rig) -> None:
    made = make(api, bearer(rig), scopes=["keys:write"], expires_at=moment(rig.clock() + 60))
    place = f"/v1/keys/{made.json()['id']}"
    rotated = api.post(f"{place}/rotate", headers=with_key(made))
    assert rotated.status_code == 200
    assert rotated.json()["expires_at"] == made.json()["expires_at"]
    assert api.delete(place, headers=with_key(rotated)).status_code == 204


def test_a_key_cannot_revoke_one_that_has_more_scopes(api: TestClient, rig: Rig) -> None:
    strong = make(api, bearer(rig), scopes=["jobs:read", "admin"])
    answer = api.delete(f"/v1/keys/{strong.json()['id']}", headers=bearer(rig, "keys:write", "jobs:read"))
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert api.get("/v1/tenant", headers=with_key(strong)).status_code == 200


def test_only_an_admin_reaches_the_keys_of_other_tenants(api: TestClient, rig: Rig) -> None:
    admin, manager = bearer(rig), bearer(rig, "keys:write", "jobs:read")
    theirs = make(api, admin, tenant="other")
    assert (theirs.status_code, theirs.json()["tenant"]) == (201, "other")
    place = f"/v1/keys/{theirs.json()['id']}"
    assert make(api, manager, tenant="other").status_code == 403
    assert api.get("/v1/keys?tenant=other", headers=manager).status_code == 403
    assert [api.get(place, headers=manager).status_code, api.delete(place, headers=manager).status_code] == [404, 404]
    assert api.get("/v1/keys?tenant=other", headers=admin).json()["data"][0]["id"] == theirs.json()["id"]
    assert api.delete(place, headers=admin).status_code == 204


def test_keys_are_listed_on_after_one_that_is_gone(api: TestClient, rig: Rig) -> None:
    admin = bearer(rig)
    made = []
    for _ in range(3):
        rig.clock.advance(1)
        made.append(make(api, admin).json()["id"])
    page = api.get("/v1/keys", params={"limit": 1}, headers=admin).json()
    with rig.database.write() as connection:
        connection.execute(delete(api_keys).where(api_keys.c.prefix == made[2]))
    rest = api.get("/v1/keys", params={"after_id": page["last_id"]}, headers=admin).json()["data"]
    assert [key["id"] for key in rest][:2] == [made[1], made[0]]
    after_id = api.get("/v1/keys", params={"after_id": made[1]}, headers=admin).json()["data"]
    assert after_id == rest[1:]
    refused = api.get("/v1/keys", params={"after_id": made[2]}, headers=admin)
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/after_id")


def test_keys_are_listed_newest_first_in_pages(api: TestClient, rig: Rig) -> None:
    admin = bearer(rig)
    made = []
    for number in range(5):
        rig.clock.advance(number % 2)  # some have the same time
        made.append(make(api, admin).json()["id"])
    seen: list[str] = []
    query: dict[str, Any] = {"limit": 2}
    while True:
        page = api.get("/v1/keys", params=query, headers=admin).json()
        seen += [key["id"] for key in page["data"]]
        if not page["has_more"]:
            break
        query["after_id"] = page["last_id"]
    assert len(seen) == len(set(seen)) == 6
    assert set(made) < set(seen)
    created = [api.get(f"/v1/keys/{each}", headers=admin).json()["created_at"] for each in seen]
    assert created == sorted(created, reverse=True)


def test_a_revoked_key_fails_here_at_once_and_elsewhere_within_five_seconds(api: TestClient, rig: Rig) -> None:
    admin = bearer(rig)
    made = make(api, admin)
    key = with_key(made)
    elsewhere = Keys(rig.database, clock=rig.clock)
    elsewhere.authenticate(made.json()["key"])
    for _ in range(2):
        assert api.delete(f"/v1/keys/{made.json()['id']}", headers=admin).status_code == 204
    assert api.get("/v1/jobs", headers=key).json()["code"] == "key_revoked"
    assert api.get(f"/v1/keys/{made.json()['id']}", headers=admin).json()["status"] == "revoked"
    rig.clock.advance(CACHE_S)
    with pytest.raises(KeyRevokedError):
        elsewhere.authenticate(made.json()["key"])


def test_a_rotated_key_accepts_both_secrets_for_a_while(api: TestClient, rig: Rig) -> None:
    admin = bearer(rig)
    first = make(api, admin)
    place = f"/v1/keys/{first.json()['id']}/rotate"
    second = api.post(place, json={"overlap_s": 100}, headers=admin)
    assert second.status_code == 200
    assert second.json()["id"] == first.json()["id"]
    old, new = with_key(first), with_key(second)
    assert [api.get("/v1/jobs", headers=each).status_code for each in (old, new)] == [200, 200]
    rig.clock.advance(100)
    answer = api.get("/v1/jobs", headers=old)
    assert (answer.status_code, answer.json()["code"]) == (401, "key_expired")
    assert api.get("/v1/jobs", headers=new).status_code == 200
    third = api.post(place, headers=admin)  # an hour by default
    assert third.json()["previous_until"] == moment(rig.clock() + 3600).replace("+00:00", "Z")
    assert api.post(place, json={"overlap_s": 7 * 24 * 3600 + 1}, headers=admin).status_code == 422
    assert [api.get("/v1/jobs", headers=each).status_code for each in (old, new, with_key(third))] == [401, 200, 200]


@pytest.mark.parametrize("age_s", [0.0, 3.0])
def test_a_new_secret_is_valid_at_once_also_where_the_key_was_just_used(rig: Rig, age_s: float) -> None:
    keys, first = rig.service.keys, new_api_key()
    keys.add(first, tenant="default")
    elsewhere = Keys(rig.database, clock=rig.clock)
    caller = elsewhere.authenticate(first)
    rig.clock.advance(age_s)
    _, second = keys.rotate(caller, caller.prefix, overlap_s=60)
    assert [elsewhere.authenticate(each).prefix for each in (second, first)] == [caller.prefix] * 2
    assert keys.authenticate(second).prefix == caller.prefix


def test_a_key_that_was_missing_a_moment_ago_is_valid_at_once(rig: Rig) -> None:
    elsewhere, key = Keys(rig.database, clock=rig.clock), new_api_key()
    with pytest.raises(UnauthenticatedError):
        elsewhere.authenticate(key)
    rig.service.keys.add(key, tenant="default")
    assert elsewhere.authenticate(key).tenant == "default"


def test_wrong_secrets_read_a_key_at_most_once_a_second(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    key = new_api_key()
    reads: list[float] = []
    rig.service.keys.add(key, tenant="default")
    elsewhere = Keys(rig.database, clock=rig.clock)
    find = elsewhere._find

    def noted(prefix: str) -> ApiKey | None:
        reads.append(rig.clock())
        return find(prefix)

    monkeypatch.setattr(elsewhere, "_find", noted)
    elsewhere.authenticate(key)
    begin = rig.clock()
    for _ in range(12):
        for _ in range(3):
            with pytest.raises(UnauthenticatedError):
                elsewhere.authenticate(new_api_key(key[4:12]))
        assert elsewhere.authenticate(key).tenant == "default"
        rig.clock.advance(0.25)
    assert [at - begin for at in reads] == [0.0, 0.0, 1.0, 2.0]


def test_a_revoked_or_expired_key_cannot_be_rotated(api: TestClient, rig: Rig) -> None:
    admin = bearer(rig)
    key = make(api, admin).json()["id"]
    api.delete(f"/v1/keys/{key}", headers=admin)
    answer = api.post(f"/v1/keys/{key}/rotate", headers=admin)
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")


def test_use_is_recorded_at_most_once_a_minute(api: TestClient, rig: Rig) -> None:
    admin = bearer(rig)
    made = make(api, admin)
    key, place = with_key(made), f"/v1/keys/{made.json()['id']}"

    def last_used() -> Any:
        return api.get(place, headers=admin).json()["last_used_at"]

    assert last_used() is None
    begin = rig.clock()
    for after, noted in ((0.0, begin), (59.0, begin), (1.0, begin + 60)):
        rig.clock.advance(after)
        assert api.get("/v1/jobs", headers=key).status_code == 200
        assert last_used() == moment(noted).replace("+00:00", "Z")


def test_use_is_recorded_after_the_clock_was_set_back(api: TestClient, rig: Rig) -> None:
    admin = bearer(rig)
    made = make(api, admin)
    for step_s in (0.0, -86400.0):
        rig.clock.advance(step_s)
        assert api.get("/v1/jobs", headers=with_key(made)).status_code == 200
        used = api.get(f"/v1/keys/{made.json()['id']}", headers=admin).json()["last_used_at"]
        assert used == moment(rig.clock()).replace("+00:00", "Z")


def test_a_revoked_or_rotated_bootstrap_key_stays_so_after_a_restart(rig: Rig) -> None:
    keys, revoked, rotated = rig.service.keys, new_api_key(), new_api_key()
    for key in (revoked, rotated):
        keys.add(key, tenant="default")
    caller = keys.authenticate(rotated)
    keys.revoke(caller, revoked[4:12])
    _, new = keys.rotate(caller, rotated[4:12], overlap_s=0)
    for key in (revoked, rotated):
        keys.add(key, tenant="default")
        with pytest.raises((KeyRevokedError, KeyExpiredError)):
            keys.authenticate(key)
    assert keys.authenticate(new).scopes == set(Scope)


def test_concurrent_look_ups_read_the_database_once(rig: Rig) -> None:
    key = new_api_key()
    rig.service.keys.add(key, tenant="default")
    keys = Keys(rig.database, clock=rig.clock)
    keys.authenticate(key)
    with rig.database.write() as connection:
        connection.execute(text("DELETE FROM api_keys"))
    assert keys.authenticate(key).tenant == "default"
    rig.clock.advance(CACHE_S)
    with pytest.raises(UnauthenticatedError):
        keys.authenticate(key)


def test_who_am_i_shows_tenant_scopes_limits_and_usage(api: TestClient, rig: Rig) -> None:
    key = bearer(rig, "jobs:read")
    rig.submit(3)
    rig.plan()
    own = api.get("/v1/tenant", headers=key).json()
    assert (own["id"], own["weight"], own["read"]) == ("default", 1.0, None)
    assert own["key"]["scopes"] == ["jobs:read"]
    assert own["training_photos"] is False
    assert own["usage"] == {"queued_items": 3, "unfinished_jobs": 1, "unfinished_runs": 0}
    assert own["limits"]["max_body_bytes"] == 4 * 2**20
