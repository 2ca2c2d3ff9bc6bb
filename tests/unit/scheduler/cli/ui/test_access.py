"""How keys and tenants are shown."""

from typing import Any

import pytest
from pydantic import TypeAdapter

from nst_core.client.resources.access import Key, OwnTenant, Scope, Tenant
from scheduler.cli.ui.access import key_page, keys_table, tenant_page, tenants_table
from tests.unit.scheduler.cli.ui.screen import joined, lines_of

KEY: dict[str, Any] = {
    "id": "3f9a10c2",
    "name": "nightly [batch]",
    "tenant": "gallery",
    "scopes": ["jobs:read", "jobs:write"],
    "status": "active",
    "created_at": "2026-11-22T12:00:00Z",
}
TENANT: dict[str, Any] = {
    "id": "gallery",
    "weight": 2.0,
    "read": ["s3://photos/[2026]/"],
    "write": None,
    "overrides": {"burst": 7},
    "limits": {"max_unfinished_jobs": 1000, "burst": 7, "requests_per_s": 2.5, "max_uploads": None},
    "usage": {"queued_items": 1440, "unfinished_jobs": 2, "unfinished_runs": 1},
}


def key(**changes: Any) -> Key:
    return TypeAdapter(Key).validate_python(KEY | changes)


def test_keys_are_a_line_each_of_80_columns() -> None:
    lines = lines_of(keys_table([key(), key(id="00000000", status="revoked", scopes=list(Scope))]))
    assert lines[2].split() == ["3f9a10c2", "nightly", "[batch]", "active", "jobs:read,", "jobs:write", "–"]
    assert lines[3].split()[3:] == ["revoked", "all", "–"]
    assert lines_of(keys_table([])) == ["There are no keys."]


def test_the_page_of_a_key_says_how_long_it_is_valid() -> None:
    assert "expires never" in joined(key_page(key()))
    text = joined(
        key_page(key(status="expired", expires_at="2026-11-23T12:00:00Z", previous_until="2026-11-22T13:00:00Z"))
    )
    assert "expires 2026-11-23" in text
    assert "old secret valid until 2026-11-22" in text


def test_a_tenant_has_its_places_and_the_limits_with_what_is_used() -> None:
    tenant = TypeAdapter(Tenant).validate_python(TENANT)
    text = joined(tenant_page(tenant))
    for part in (
        "weight 2 reads s3://photos/[2026]/ writes only its own place",
        "unfinished jobs 2 1,000",
        "requests at once 7 set for this tenant",
        "requests per second 2.5",
        "uploads unlimited",
    ):
        assert part in text
    assert lines_of(tenants_table([tenant]))[2].split() == ["gallery", "2", "1,440", "2", "1"]


@pytest.mark.parametrize(("tenant", "places"), [("default", "all buckets"), ("gallery", "only its own place")])
def test_the_first_tenant_may_read_all_buckets(tenant: str, places: str) -> None:
    own = TypeAdapter(OwnTenant).validate_python(TENANT | {"id": tenant, "read": None, "key": KEY})
    assert f"reads {places}" in joined(tenant_page(own))
    assert "key 3f9a10c2 nightly [batch] active" in joined(tenant_page(own))
