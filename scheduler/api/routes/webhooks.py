"""Routes of webhooks and their deliveries."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query, Response

from nst_core.client.resources.webhooks import (
    Delivery,
    DeliveryPage,
    DeliveryStatus,
    NewSecret,
    Replayed,
    Webhook,
    WebhookChanges,
    WebhookPage,
    WebhookRequest,
)
from scheduler.api.dependencies import TenantDep, WebhooksDep
from scheduler.api.json_bodies import JsonRoute
from scheduler.api.pages import collect
from scheduler.api.parameters import AfterId, AfterNumber, DeliveryId, Limit, WebhookId
from scheduler.api.problems import answers
from scheduler.api.resources import delivery_of, new_secret_of, webhook_of

router = APIRouter(route_class=JsonRoute, prefix="/v1/webhooks", tags=["webhooks"])

_SECRET = {"Cache-Control": "no-store"}


@router.post("", status_code=201, responses=answers(409))
def create_webhook(body: WebhookRequest, webhooks: WebhooksDep, tenant: TenantDep, response: Response) -> NewSecret:
    """Create a webhook. Only this response contains its secret."""
    webhook, secret = webhooks.create(
        tenant, url=body.url, types=body.types, description=body.description, enabled=body.enabled
    )
    response.headers.update(_SECRET | {"Location": f"/v1/webhooks/{webhook.id}"})
    return new_secret_of(webhook, secret)


@router.get("")
def list_webhooks(
    webhooks: WebhooksDep,
    tenant: TenantDep,
    limit: Limit = 20,
    after_id: AfterId = None,
) -> WebhookPage:
    """List webhooks, newest first."""
    return collect(
        WebhookPage,
        lambda most, after: webhooks.all(tenant, limit=most, after_id=after),
        webhook_of,
        limit=limit,
        after_id=after_id,
    )


@router.get("/{webhook_id}")
def get_webhook(webhook_id: WebhookId, webhooks: WebhooksDep, tenant: TenantDep) -> Webhook:
    """Return a webhook."""
    return webhook_of(webhooks.get(tenant, webhook_id))


@router.patch("/{webhook_id}")
def update_webhook(webhook_id: WebhookId, body: WebhookChanges, webhooks: WebhooksDep, tenant: TenantDep) -> Webhook:
    """Change a webhook."""
    return webhook_of(webhooks.update(tenant, webhook_id, body.model_dump(exclude_unset=True)))


@router.delete("/{webhook_id}", status_code=204)
def delete_webhook(webhook_id: WebhookId, webhooks: WebhooksDep, tenant: TenantDep) -> None:
    """Remove a webhook and its deliveries."""
    webhooks.delete(tenant, webhook_id)


@router.post("/{webhook_id}/rotate")
def rotate_secret(webhook_id: WebhookId, webhooks: WebhooksDep, tenant: TenantDep, response: Response) -> NewSecret:
    """Replace the secret of a webhook. For 24 hours, messages are signed with both secrets."""
    webhook, secret = webhooks.rotate(tenant, webhook_id)
    response.headers.update(_SECRET)
    return new_secret_of(webhook, secret)


@router.post("/{webhook_id}/test", status_code=202, responses=answers(409))
def test_webhook(webhook_id: WebhookId, webhooks: WebhooksDep, tenant: TenantDep) -> Delivery:
    """Send a message of the type `webhook.test`; it is not retried."""
    return delivery_of(webhooks.test(tenant, webhook_id))


@router.post("/{webhook_id}/replay", status_code=202, responses=answers(409))
def replay_failed(
    webhook_id: WebhookId,
    webhooks: WebhooksDep,
    tenant: TenantDep,
    since: Annotated[
        datetime | None,
        Query(description="Only messages created at or after this time (RFC 3339). Default: all stored messages."),
    ] = None,
) -> Replayed:
    """Send all failed messages again, each with the same id."""
    moment = 0.0
    if since is not None:
        moment = (since if since.tzinfo else since.replace(tzinfo=UTC)).timestamp()
    return Replayed(replayed=webhooks.replay_failed(tenant, webhook_id, since=moment))


@router.get("/{webhook_id}/deliveries")
def list_deliveries(
    webhook_id: WebhookId,
    webhooks: WebhooksDep,
    tenant: TenantDep,
    limit: Limit = 20,
    after_id: AfterNumber = None,
    status: Annotated[DeliveryStatus | None, Query(description="Only deliveries with this status.")] = None,
) -> DeliveryPage:
    """List deliveries, newest first."""
    return collect(
        DeliveryPage,
        lambda most, after: webhooks.deliveries(tenant, webhook_id, limit=most, after_id=after, status=status),
        delivery_of,
        limit=limit,
        after_id=after_id,
    )


@router.get("/{webhook_id}/deliveries/{delivery_id}")
def get_delivery(webhook_id: WebhookId, delivery_id: DeliveryId, webhooks: WebhooksDep, tenant: TenantDep) -> Delivery:
    """Return a delivery."""
    return delivery_of(webhooks.delivery(tenant, webhook_id, delivery_id))


@router.post("/{webhook_id}/deliveries/{delivery_id}/replay", status_code=202, responses=answers(409))
def replay_delivery(
    webhook_id: WebhookId, delivery_id: DeliveryId, webhooks: WebhooksDep, tenant: TenantDep
) -> Delivery:
    """Send a message again with the same id, even if it was delivered."""
    return delivery_of(webhooks.replay(tenant, webhook_id, delivery_id))
