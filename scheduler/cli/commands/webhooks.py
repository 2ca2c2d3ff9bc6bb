"""`nst webhooks`: send events to an address, and see what became of the messages."""

import time
from functools import partial
from typing import Annotated

import typer

from nst_core.client import Client
from nst_core.client.resources.webhooks import Delivery, DeliveryStatus
from scheduler.cli.commands.parameters import SINCE, AsJson, Limit
from scheduler.cli.exits import ExitCode, UsageError
from scheduler.cli.options import parse_since
from scheduler.cli.session import first, session_of
from scheduler.cli.ui.webhooks import deliveries_table, delivery_line, webhook_page, webhooks_table

app = typer.Typer(no_args_is_help=True)

WebhookId = Annotated[str, typer.Argument(metavar="WEBHOOK", help="Id of the webhook: whk_….")]
Types = Annotated[
    list[str] | None,
    typer.Option(
        "--type",
        "-t",
        metavar="TYPE",
        help="Type of events to send, such as job.completed, or * for all. Can be repeated.",
    ),
]
_DESCRIPTION = typer.Option("--description", "-d", help="A note for people.")
_TEST_S, _TEST_POLL_S = 30.0, 0.25


@app.command()
def create(
    context: typer.Context,
    url: Annotated[str, typer.Argument(metavar="URL", help="Address to send events to: https://….")],
    types: Types = None,
    description: Annotated[str, _DESCRIPTION] = "",
    as_json: AsJson = False,
) -> None:
    """Send events to an address, and print the secret that signs the messages."""
    session = session_of(context)
    with session.client() as client:
        made = client.webhooks.create(url, types=types or ("*",), description=description)
    session.show(made, webhook_page, as_json=as_json)


@app.command("list")
def list_webhooks(context: typer.Context, as_json: AsJson = False) -> None:
    """List webhooks, newest first."""
    session_of(context).show_answer(lambda client: list(client.webhooks.all()), webhooks_table, as_json=as_json)


@app.command()
def show(context: typer.Context, webhook_id: WebhookId, as_json: AsJson = False) -> None:
    """Show everything about one webhook."""
    session_of(context).show_answer(lambda client: client.webhooks.get(webhook_id), webhook_page, as_json=as_json)


@app.command()
def update(
    context: typer.Context,
    webhook_id: WebhookId,
    url: Annotated[str | None, typer.Option("--url", help="New address.")] = None,
    types: Types = None,
    description: Annotated[str | None, _DESCRIPTION] = None,
    enabled: Annotated[bool | None, typer.Option("--enable/--disable", help="Whether to send events to it.")] = None,
    as_json: AsJson = False,
) -> None:
    """Change a webhook. If it is disabled, waiting messages fail; you can replay them later."""
    if (url, types, description, enabled) == (None, None, None, None):
        raise UsageError("Say what to change: --url, --type, --description, --enable or --disable.")
    session = session_of(context)
    with session.client() as client:
        changed = client.webhooks.update(webhook_id, url=url, types=types, description=description, enabled=enabled)
    session.show(changed, webhook_page, as_json=as_json)


@app.command()
def delete(context: typer.Context, webhook_id: WebhookId) -> None:
    """Delete a webhook and its deliveries."""
    with session_of(context).client() as client:
        client.webhooks.delete(webhook_id)


@app.command()
def rotate(context: typer.Context, webhook_id: WebhookId, as_json: AsJson = False) -> None:
    """Give a webhook a new secret. For a day, messages are signed with the old one too."""
    session_of(context).show_answer(lambda client: client.webhooks.rotate(webhook_id), webhook_page, as_json=as_json)


@app.command("test")
def send_test(context: typer.Context, webhook_id: WebhookId, as_json: AsJson = False) -> ExitCode:
    """Send a test message, and print the receiver's answer."""
    session = session_of(context)
    with session.client() as client:
        delivery = _finished(client, webhook_id, client.webhooks.test(webhook_id))
    session.show(delivery, delivery_line, as_json=as_json)
    return ExitCode.OK if delivery.status == DeliveryStatus.DELIVERED else ExitCode.FAILED


@app.command()
def deliveries(
    context: typer.Context,
    webhook_id: WebhookId,
    status: Annotated[DeliveryStatus | None, typer.Option(help="Only deliveries with this status.")] = None,
    limit: Limit = 20,
    as_json: AsJson = False,
) -> None:
    """List the messages of a webhook, newest first."""
    session = session_of(context)
    with session.client() as client:
        found = first(lambda **query: client.webhooks.deliveries(webhook_id, **query), limit, status=status)
    session.show(found, partial(deliveries_table, filtered=status is not None), as_json=as_json)


@app.command()
def replay(
    context: typer.Context,
    webhook_id: WebhookId,
    delivery_id: Annotated[
        int | None, typer.Argument(metavar="[DELIVERY]", help="Default: all failed deliveries.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help=f"Only failed deliveries that were created since then: {SINCE}.")
    ] = None,
) -> None:
    """Send one message again, or all that failed. Each keeps its id."""
    session = session_of(context)
    if delivery_id is not None and since is not None:
        raise UsageError("Give a delivery or --since, not both.")
    moment = None if since is None else parse_since(since)
    with session.client() as client:
        if delivery_id is not None:
            client.webhooks.replay(webhook_id, delivery_id)
            count = 1
        else:
            count = client.webhooks.replay_failed(webhook_id, since=moment)
    session.note(f"{count:,} {'message is' if count == 1 else 'messages are'} being sent again.")


def _finished(client: Client, webhook_id: str, delivery: Delivery) -> Delivery:
    """Return a delivery when it is finished, or as it is after half a minute."""
    for _ in range(int(_TEST_S / _TEST_POLL_S)):
        if delivery.status != DeliveryStatus.PENDING:
            break
        time.sleep(_TEST_POLL_S)
        delivery = client.webhooks.delivery(webhook_id, delivery.id)
    return delivery
