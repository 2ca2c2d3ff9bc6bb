"""How webhooks and their deliveries are shown."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from rich.console import Group, RenderableType
from rich.text import Text

from nst_core.client.resources.webhooks import Delivery, NewSecret, Webhook
from scheduler.cli.ui.tables import fixed, listing, none_of, number, page, rest
from scheduler.cli.ui.times import ago, local_time
from scheduler.cli.ui.words import marked, status_text

_REASONS = {"gone": "its receiver answered 410", "failing": "no try has succeeded for five days"}


def webhooks_table(webhooks: Sequence[Webhook]) -> RenderableType:
    """Return webhooks as a table."""
    columns = (fixed("webhook"), fixed("status"), fixed("types"), rest("url"))
    rows = [(webhook.id, _status(webhook), "\n".join(webhook.types), webhook.url) for webhook in webhooks]
    return listing(columns, rows, empty="There are no webhooks yet.")


def webhook_page(webhook: Webhook) -> RenderableType:
    """Return everything about one webhook, and its secret if it is new."""
    shown = page(_rows(webhook))
    if not isinstance(webhook, NewSecret):
        return shown
    return Group(shown, Text("Keep the secret now: it is not shown again.", style="yellow"))


def _rows(webhook: Webhook) -> Iterator[tuple[str, RenderableType | None]]:
    status = _status(webhook)
    if webhook.disabled_reason is not None:
        status.append(f": {_REASONS.get(webhook.disabled_reason, webhook.disabled_reason)}")
    yield "webhook", Text(webhook.id, style="bold")
    yield "url", webhook.url
    yield "about", webhook.description
    yield "types", ", ".join(webhook.types)
    yield "status", status
    yield "created", local_time(webhook.created_at)
    yield "failing", f"since {local_time(webhook.failing_since)}" if webhook.failing_since else None
    if webhook.old_secret_until is not None:
        yield "rotated", f"messages are also signed with the old secret until {local_time(webhook.old_secret_until)}"
    if isinstance(webhook, NewSecret):
        yield "secret", Text(webhook.secret, style="bold")


def deliveries_table(
    deliveries: Sequence[Delivery], *, filtered: bool = False, now: datetime | None = None
) -> RenderableType:
    """Return deliveries as a table; only a long answer takes several lines."""
    columns = (number("id"), fixed("type"), fixed("status"), number("tries"), number("created"), rest("last answer"))
    rows = [
        (
            str(each.id),
            each.type,
            status_text(each.status),
            str(len(each.tries)),
            ago(each.created_at, now),
            _last_answer(each),
        )
        for each in deliveries
    ]
    return listing(columns, rows, empty=none_of("deliveries", filtered=filtered))


def delivery_line(delivery: Delivery) -> Text:
    """Return one line about a delivery."""
    text = marked(delivery.status, f"{delivery.type} {delivery.status}")
    return text.append(f"  {_last_answer(delivery)}", style="dim")


def _last_answer(delivery: Delivery) -> str:
    if not delivery.tries:
        return delivery.error or ""
    last = delivery.tries[-1]
    if last.status is not None:
        return f"HTTP {last.status} in {last.ms:,} ms"
    return last.error or delivery.error or ""


def _status(webhook: Webhook) -> Text:
    if not webhook.enabled:
        return Text("disabled", style="red" if webhook.disabled_reason else "dim")
    return status_text("failing" if webhook.failing_since else "enabled")
