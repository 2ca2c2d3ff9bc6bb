"""`nst keys` and `nst whoami`, against prepared answers; tests/integration uses a real API."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from scheduler.cli.commands.keys import digits_of
from scheduler.cli.exits import ExitCode, UsageError
from tests.unit.scheduler.canned_api import Answer, CannedApi, tenant_json
from tests.unit.scheduler.cli.conftest import Run

KEY: dict[str, Any] = {
    "id": "3f9a10c2",
    "name": "batch",
    "tenant": "default",
    "scopes": ["jobs:read"],
    "status": "active",
    "created_at": "2026-11-22T12:00:00Z",
}


def test_the_secret_of_a_new_key_is_alone_on_standard_output(api: CannedApi, here: Run) -> None:
    api.on("POST", "/v1/keys", Answer(status=201, body=KEY | {"key": "nst_3f9a10c2_secret"}))
    code, out, err = here("keys", "create", "batch", "-s", "jobs:read,jobs:write", "-s", "admin", "--expires", "30m")
    assert (code, out) == (ExitCode.OK, "nst_3f9a10c2_secret\n")
    assert "not shown again" in err
    assert "secret" not in err
    body = json.loads(api.requests[-1].body)
    assert body["scopes"] == ["jobs:read", "jobs:write", "admin"]
    left = datetime.fromisoformat(body["expires_at"]) - datetime.now(UTC)
    assert timedelta(minutes=25) < left <= timedelta(minutes=30)


def test_the_old_secret_may_expire_at_once(api: CannedApi, here: Run) -> None:
    api.on("POST", "/v1/keys/3f9a10c2/rotate", Answer(body=KEY | {"key": "nst_3f9a10c2_new"}))
    assert here("keys", "rotate", "3f9a10c2", "--overlap", "0s")[1] == "nst_3f9a10c2_new\n"
    assert json.loads(api.requests[-1].body) == {"overlap_s": 0}
    assert here("keys", "rotate", "3f9a10c2", "--overlap", "soon")[0] == ExitCode.USAGE


def test_keys_are_a_table_or_json(api: CannedApi, here: Run) -> None:
    api.on("GET", "/v1/keys?limit=100", Answer(body={"data": [KEY], "has_more": False}))
    assert "batch" in here("keys", "list")[1]
    assert json.loads(here("keys", "list", "--json")[1])[0]["id"] == "3f9a10c2"


def test_a_revoked_key_is_confirmed(api: CannedApi, here: Run) -> None:
    api.on("DELETE", "/v1/keys/3f9a10c2", Answer(status=204, body=b""))
    code, out, err = here("keys", "revoke", "nst_3f9a10c2_secret")
    assert (code, out, err) == (ExitCode.OK, "", "Revoked 3f9a10c2; it stops working within 5 seconds.\n")


def test_whoami_shows_the_key_and_the_limits(api: CannedApi, here: Run) -> None:
    api.on("GET", "/v1/tenant", Answer(body=tenant_json(max_items_per_job=1234)))
    out = here("whoami")[1]
    assert "images per job" in out
    assert "1,234" in out
    assert "jobs:write" in out


@pytest.mark.parametrize("text", ["3f9a10c2", "nst_3f9a10c2", "nst_3f9a10c2_secret"])
def test_a_key_is_named_by_its_digits(text: str) -> None:
    assert digits_of(text) == "3f9a10c2"


def test_an_error_does_not_repeat_what_may_be_a_secret() -> None:
    with pytest.raises(UsageError) as caught:
        digits_of("secret")
    assert "secret" not in caught.value.message
