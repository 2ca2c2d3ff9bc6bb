"""How webhooks and deliveries are shown."""

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import TypeAdapter

from nst_core.client.resources.webhooks import Delivery, Webhook
from scheduler.cli.ui import webhooks as render
from tests.unit.scheduler.cli.ui.screen import joined, lines_of

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


def delivery(status: str, *tries: dict[str, Any], **changes: Any) -> dict[str, Any]:
    values = {"id": 17, "message_id": "msg_1", "type": "job.completed", "status": status, "tries": tries}
    return values | {"error": None, "created_at": "2026-11-22T12:00:00Z"} | changes


def tried(status: int | None, error: str | None = None) -> dict[str, Any]:
    return {"at": "2026-11-22T12:00:00Z", "status": status, "error": error, "ms": 1234}


@pytest.fixture(autouse=True)
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)


def test_lists_fit_into_80_columns() -> None:
    gone = WEBHOOK | {"enabled": False, "disabled_reason": "gone", "types": ["*"]}
    webhooks = TypeAdapter(list[Webhook]).validate_python([WEBHOOK, gone])
    text = joined(render.webhooks_table(webhooks))
    assert ID in text
    assert "disabled" in text
    failed = delivery("failed", tried(None, "The certificate is not valid: it has expired [x]."), id=4_000_000_000)
    found = [delivery("delivered", tried(500), tried(204)), failed, delivery("pending")]
    deliveries = TypeAdapter(list[Delivery]).validate_python(found)
    text = joined(render.deliveries_table(deliveries, now=datetime(2026, 11, 22, 12, 5, tzinfo=UTC)))
    assert "HTTP 204" in text
    assert "5 min ago" in text
    assert "[x]" in text
    assert lines_of(render.webhooks_table([])) == ["There are no webhooks yet."]
    assert lines_of(render.deliveries_table([])) == ["There are no deliveries."]
