"""What the commands show of webhooks."""

from collections.abc import Sequence
from datetime import UTC, datetime

from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from scheduler.cli.ui.times import ago, local_time
from scheduler.webhooks.resources import Delivery, NewSecret, Webhook

_COLOURS = {"delivered": "green", "failed": "red", "pending": "cyan"}
_REASONS = {"gone": "its receiver answered 410", "failing": "no try has succeeded for five days"}


def webhooks_table(webhooks: Sequence[Webhook]) -> RenderableType:
    """Return webhooks as a table, one line each."""
    if not webhooks:
        return Text("There are no webhooks yet.", style="dim")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, expand=True)
    table.add_column("webhook", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("types", no_wrap=True)
    table.add_column("url", ratio=1, overflow="fold")
    for webhook in webhooks:
        table.add_row(webhook.id, _state(webhook), "\n".join(webhook.types), Text(webhook.url))
    return table


def webhook_page(webhook: Webhook) -> RenderableType:
    """Return all that is to say about one webhook, with its secret where it has just got it."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", justify="right")
    grid.add_column(overflow="fold")
    state = _state(webhook)
    if webhook.disabled_reason is not None:
        state.append(f": {_REASONS.get(webhook.disabled_reason, webhook.disabled_reason)}")
    rows: list[tuple[str, RenderableType]] = [
        ("webhook", Text(webhook.id, style="bold")),
        ("url", Text(webhook.url)),
        ("types", ", ".join(webhook.types)),
        ("state", state),
        ("created", local_time(webhook.created_at)),
    ]
    if webhook.description:
        rows.insert(2, ("about", Text(webhook.description)))
    if webhook.failing_since is not None:
        rows.append(("failing", f"since {local_time(webhook.failing_since)}"))
    if webhook.old_secret_until is not None:
        rows.append(("rotated", f"the old secret signs until {local_time(webhook.old_secret_until)}"))
    if isinstance(webhook, NewSecret):
        rows.append(("secret", Text(webhook.secret, style="bold")))
    for name, value in rows:
        grid.add_row(name, value)
    if not isinstance(webhook, NewSecret):
        return grid
    return Group(grid, Text("Keep the secret now: it is not shown again.", style="yellow"))


def deliveries_table(deliveries: Sequence[Delivery], *, now: datetime | None = None) -> RenderableType:
    """Return deliveries as a table, one line each but for long reasons."""
    if not deliveries:
        return Text("There are no deliveries.", style="dim")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, expand=True)
    table.add_column("id", no_wrap=True, justify="right")
    table.add_column("type", no_wrap=True)
    table.add_column("status", no_wrap=True)
    table.add_column("tries", no_wrap=True, justify="right")
    table.add_column("created", no_wrap=True, justify="right")
    table.add_column("last answer", ratio=1)
    for each in deliveries:
        created = ago(each.created_at, now or datetime.now(UTC))
        status = Text(each.status, style=_COLOURS.get(each.status, ""))
        table.add_row(str(each.id), each.type, status, str(len(each.tries)), created, escape(_last_answer(each)))
    return table


def delivery_line(delivery: Delivery) -> Text:
    """Return one line about a delivery."""
    mark, style = {"delivered": ("✓ ", "bold green"), "failed": ("✗ ", "bold red")}.get(delivery.status, ("… ", "cyan"))
    return Text.assemble((mark, style), f"{delivery.type} {delivery.status}", (f"  {_last_answer(delivery)}", "dim"))


def _last_answer(delivery: Delivery) -> str:
    if not delivery.tries:
        return delivery.error or ""
    last = delivery.tries[-1]
    if last.status is not None:
        return f"HTTP {last.status} in {last.ms:,} ms"
    return last.error or delivery.error or ""


def _state(webhook: Webhook) -> Text:
    if not webhook.enabled:
        return Text("disabled", style="red" if webhook.disabled_reason else "dim")
    return Text("failing", style="yellow") if webhook.failing_since else Text("enabled", style="green")
