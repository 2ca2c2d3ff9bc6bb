"""`nst webhooks`, and what the client does for it, against prepared answers."""

import json
from typing import Any

import pytest

from scheduler.cli.exits import ExitCode
from tests.unit.scheduler.canned_api import Answer, CannedApi, problem
from tests.unit.scheduler.cli.conftest import Run

ID = "whk_0123456789abcdef01234567"


WEBHOOK: dict[str, Any] = {
    "id": ID,
    "url": "https://example.com/hooks/[nst]?a=1",
    "types": ["job.completed", "run.completed"],
    "description": "Gallery",
    "enabled": True,
    "disabled_reason": None,
    "failing_since": None,
    "old_secret_until": None,
    "created_at": "2026-11-22T12:00:00Z",
}


SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture(autouse=True)
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)


def body_of(api: CannedApi) -> Any:
    return json.loads(api.requests[-1].body)


def delivery(status: str, *tries: dict[str, Any], **changes: Any) -> dict[str, Any]:
    values = {"id": 17, "message_id": "msg_1", "type": "job.completed", "status": status, "tries": tries}
    return values | {"error": None, "created_at": "2026-11-22T12:00:00Z"} | changes


def tried(status: int | None, error: str | None = None) -> dict[str, Any]:
    return {"at": "2026-11-22T12:00:00Z", "status": status, "error": error, "ms": 1234}


def test_create_prints_the_secret_once(api: CannedApi, here: Run) -> None:
    api.on("POST", "/v1/webhooks", Answer(status=201, body=WEBHOOK | {"secret": SECRET}))
    code, out, _ = here("webhooks", "create", "https://example.com/", "-t", "job.completed", "-d", "Gallery")
    assert code == ExitCode.OK
    assert body_of(api) == {
        "url": "https://example.com/",
        "types": ["job.completed"],
        "description": "Gallery",
        "enabled": True,
    }
    assert SECRET in out
    assert "not shown again" in out


def test_create_is_tried_once(api: CannedApi, here: Run) -> None:
    api.on("POST", "/v1/webhooks", Answer(hang_up=True))
    code, _, _ = here("webhooks", "create", "https://example.com/")
    assert (code, len(api.requests)) == (ExitCode.UNREACHABLE, 1)


def test_disabled_webhooks_are_reported_without_retries(api: CannedApi, here: Run) -> None:
    disabled = problem(503, "webhooks_disabled", "Set a key.")
    api.on("GET", "/v1/webhooks?limit=200", disabled)
    code, _, err = here("webhooks", "list")
    assert (code, len(api.requests)) == (ExitCode.REFUSED, 1)
    assert "Set a key. (webhooks_disabled)" in err


def test_deliveries_are_filtered_by_status(api: CannedApi, here: Run) -> None:
    path = f"/v1/webhooks/{ID}/deliveries?limit=5&status=failed"
    api.on("GET", path, Answer(body={"data": [delivery("failed", tried(500))], "has_more": False}))
    code, out, _ = here("webhooks", "deliveries", ID, "--status", "failed", "-n", "5")
    assert code == ExitCode.OK
    assert "HTTP 500 in 1,234 ms" in out


def test_show_says_why_a_webhook_is_disabled(api: CannedApi, here: Run) -> None:
    failing = {"enabled": False, "disabled_reason": "failing", "failing_since": "2026-11-17T12:00:00Z"}
    api.on("GET", f"/v1/webhooks/{ID}", Answer(body=WEBHOOK | failing))
    _, out, _ = here("webhooks", "show", ID)
    assert "no try has succeeded for five days" in out
    assert "https://example.com/hooks/[nst]?a=1" in out
    assert json.loads(here("webhooks", "show", ID, "--json")[1])["disabled_reason"] == "failing"


def test_update_sends_what_is_given(api: CannedApi, here: Run) -> None:
    api.on("PATCH", f"/v1/webhooks/{ID}", Answer(body=WEBHOOK))
    here("webhooks", "update", ID, "--disable", "-t", "*")
    assert body_of(api) == {"enabled": False, "types": ["*"]}
    here("webhooks", "update", ID, "--url", "https://example.org/", "-d", "")
    assert body_of(api) == {"url": "https://example.org/", "description": ""}
    assert here("webhooks", "update", ID)[0] == ExitCode.USAGE


def test_delete_and_rotate(api: CannedApi, here: Run) -> None:
    api.on("DELETE", f"/v1/webhooks/{ID}", Answer(status=204, body=b""))
    until = {"old_secret_until": "2026-11-23T12:00:00Z"}
    api.on("POST", f"/v1/webhooks/{ID}/rotate", Answer(body=WEBHOOK | until | {"secret": SECRET}))
    assert here("webhooks", "delete", ID)[0] == ExitCode.OK
    _, out, _ = here("webhooks", "rotate", ID)
    assert SECRET in out
    assert "also signed with the old secret until" in out


@pytest.mark.parametrize(("status", "code"), [("delivered", ExitCode.OK), ("failed", ExitCode.FAILED)])
def test_a_test_waits_for_the_answer(api: CannedApi, here: Run, status: str, code: ExitCode) -> None:
    api.on("POST", f"/v1/webhooks/{ID}/test", Answer(status=202, body=delivery("pending", type="webhook.test")))
    ended = delivery(status, tried(204 if status == "delivered" else 500), type="webhook.test")
    api.on("GET", f"/v1/webhooks/{ID}/deliveries/17", Answer(body=delivery("pending")), Answer(body=ended))
    done, out, _ = here("webhooks", "test", ID)
    assert done == code
    assert f"webhook.test {status}" in out


def test_one_message_or_all_that_failed_are_replayed(api: CannedApi, here: Run) -> None:
    api.on("POST", f"/v1/webhooks/{ID}/deliveries/17/replay", Answer(status=202, body=delivery("pending")))
    api.on("POST", f"/v1/webhooks/{ID}/replay", Answer(status=202, body={"replayed": 3}))
    assert "1 message is being sent again." in here("webhooks", "replay", ID, "17")[2]
    assert "3 messages are being sent again." in here("webhooks", "replay", ID)[2]
    assert here("webhooks", "replay", ID, "17", "--since", "2026-11-20")[0] == ExitCode.USAGE
