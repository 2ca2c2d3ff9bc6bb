"""`nst webhooks`: where the API tells of events, and what became of its messages."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from itertools import islice
from typing import Annotated

import typer

from nst_core.client import Client
from scheduler.cli.commands.jobs import AsJson
from scheduler.cli.exits import ExitCode, UsageError
from scheduler.cli.session import print_json, session_of
from scheduler.cli.ui import webhooks as render
from scheduler.webhooks.resources import Delivery, NewSecret, Webhook

app = typer.Typer(no_args_is_help=True)

WebhookId = Annotated[str, typer.Argument(metavar="WEBHOOK", help="The webhook's id: whk_…", show_default=False)]
Types = Annotated[
    list[str] | None,
    typer.Option("--type", "-t", metavar="TYPE", help="A type of events, such as job.completed; or all: *."),
]
_TEST_S, _TEST_POLL_S = 30.0, 0.25


class Outcome(StrEnum):
    """Where a delivery stands."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


@app.command()
def create(
    context: typer.Context,
    url: Annotated[str, typer.Argument(metavar="URL", help="https://…", show_default=False)],
    types: Types = None,
    description: Annotated[str, typer.Option("--description", "-d", help="For people.", show_default=False)] = "",
    as_json: AsJson = False,
) -> None:
    """Have an address told of events, and print the secret that signs the messages."""
    session = session_of(context)
    with session.client() as client:
        _show(context, client.webhooks.create(url, types=types or ("*",), description=description), as_json=as_json)


@app.command("list")
def list_webhooks(context: typer.Context, as_json: AsJson = False) -> None:
    """List webhooks, the newest first."""
    session = session_of(context)
    with session.client() as client:
        found = list(client.webhooks.all())
    if as_json:
        print_json(found)
    else:
        session.out.print(render.webhooks_table(found))


@app.command()
def show(context: typer.Context, webhook_id: WebhookId, as_json: AsJson = False) -> None:
    """Show all about one webhook."""
    with session_of(context).client() as client:
        _show(context, client.webhooks.get(webhook_id), as_json=as_json)


@app.command()
def update(
    context: typer.Context,
    webhook_id: WebhookId,
    url: Annotated[str | None, typer.Option("--url", help="Another address.", show_default=False)] = None,
    types: Types = None,
    description: Annotated[str | None, typer.Option("--description", "-d", help="For people.")] = None,
    enabled: Annotated[
        bool | None,
        typer.Option("--enable/--disable", help="Whether it is told of events.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Change a webhook; what waits for one that is disabled fails, and may be replayed later."""
    if (url, types, description, enabled) == (None, None, None, None):
        raise UsageError("Say what to change: --url, --type, --description, --enable or --disable.")
    with session_of(context).client() as client:
        changed = client.webhooks.update(webhook_id, url=url, types=types, description=description, enabled=enabled)
        _show(context, changed, as_json=as_json)


@app.command()
def delete(context: typer.Context, webhook_id: WebhookId) -> None:
    """Remove a webhook and its deliveries."""
    with session_of(context).client() as client:
        client.webhooks.delete(webhook_id)


@app.command()
def rotate(context: typer.Context, webhook_id: WebhookId, as_json: AsJson = False) -> None:
    """Give a webhook another secret; for a day the old one signs as well."""
    with session_of(context).client() as client:
        _show(context, client.webhooks.rotate(webhook_id), as_json=as_json)


@app.command("test")
def send_test(context: typer.Context, webhook_id: WebhookId, as_json: AsJson = False) -> ExitCode:
    """Send a message of the type webhook.test, and say what the receiver answers."""
    session = session_of(context)
    with session.client() as client:
        made = client.webhooks.test(webhook_id)
        delivery = _followed(client, webhook_id, made)
    if as_json:
        print_json(delivery)
    else:
        session.out.print(render.delivery_line(delivery), soft_wrap=True)
    return ExitCode.OK if delivery.status == Outcome.DELIVERED else ExitCode.FAILED


@app.command()
def deliveries(
    context: typer.Context,
    webhook_id: WebhookId,
    status: Annotated[Outcome | None, typer.Option(help="Those that stand so.", show_default=False)] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Show at most so many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List what was and is to be sent, the newest first."""
    session = session_of(context)
    with session.client() as client:
        pages = client.webhooks.deliveries(webhook_id, status=status and status.value, page=min(limit, 200))
        found: Sequence[Delivery] = list(islice(pages, limit))
    if as_json:
        print_json(found)
    else:
        session.out.print(render.deliveries_table(found))


@app.command()
def replay(
    context: typer.Context,
    webhook_id: WebhookId,
    delivery_id: Annotated[
        int | None, typer.Argument(metavar="[DELIVERY]", help="Default: all that failed.", show_default=False)
    ] = None,
    since: Annotated[
        datetime | None, typer.Option(help="Of those that failed, the ones made since then.", show_default=False)
    ] = None,
) -> None:
    """Send a message again, or all that failed, each under its id."""
    session = session_of(context)
    if delivery_id is not None and since is not None:
        raise UsageError("Give a delivery or --since, not both.")
    with session.client() as client:
        if delivery_id is not None:
            client.webhooks.replay(webhook_id, delivery_id)
            count = 1
        else:
            moment = None if since is None else since.astimezone(UTC)
            count = client.webhooks.replay_failed(webhook_id, since=moment)
    session.err.print(f"{count:,} {'message is' if count == 1 else 'messages are'} sent again.")


def _show(context: typer.Context, webhook: Webhook | NewSecret, *, as_json: bool) -> None:
    if as_json:
        print_json(webhook)
    else:
        session_of(context).out.print(render.webhook_page(webhook))


def _followed(client: Client, webhook_id: str, delivery: Delivery) -> Delivery:
    """Return a delivery once it has come to its end, or as it stands after half a minute."""
    for _ in range(int(_TEST_S / _TEST_POLL_S)):
        if delivery.status != Outcome.PENDING:
            break
        time.sleep(_TEST_POLL_S)
        delivery = client.webhooks.delivery(webhook_id, delivery.id)
    return delivery
