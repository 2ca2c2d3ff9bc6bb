"""The Python client of the HTTP API: `Client`, and `AsyncClient` for asyncio, with what they send and get.

`_async` is written by hand, `_sync` is generated from it (`make client`), and what needs no connection is shared.
"""

from nst_core.protocol import ItemStatus
from scheduler.access.resources import Key, NewKey, OwnTenant, Tenant
from scheduler.client._async.client import AsyncClient
from scheduler.client._async.key_client import AsyncKeyClient, AsyncTenantClient
from scheduler.client._async.run_client import AsyncRunClient
from scheduler.client._async.webhook_client import AsyncWebhookClient
from scheduler.client._sync.client import Client
from scheduler.client._sync.key_client import KeyClient, TenantClient
from scheduler.client._sync.run_client import RunClient
from scheduler.client._sync.webhook_client import WebhookClient
from scheduler.client.errors import ApiError, UnreachableError
from scheduler.client.events import Event
from scheduler.domain import JobInput, JobStatus, Priority
from scheduler.resources import Check, Item, Job, JobRequest, Optimize, Output, Style, Upload, UploadedFile
from scheduler.runs.domain import RunStatus
from scheduler.runs.resources import ForkRequest, Run, TrainRequest
from scheduler.webhooks.resources import Delivery, NewSecret, Webhook

__all__ = [
    "ApiError",
    "AsyncClient",
    "AsyncKeyClient",
    "AsyncRunClient",
    "AsyncTenantClient",
    "AsyncWebhookClient",
    "Check",
    "Client",
    "Delivery",
    "Event",
    "ForkRequest",
    "Item",
    "ItemStatus",
    "Job",
    "JobInput",
    "JobRequest",
    "JobStatus",
    "Key",
    "KeyClient",
    "NewKey",
    "NewSecret",
    "Optimize",
    "Output",
    "OwnTenant",
    "Priority",
    "Run",
    "RunClient",
    "RunStatus",
    "Style",
    "Tenant",
    "TenantClient",
    "TrainRequest",
    "UnreachableError",
    "Upload",
    "UploadedFile",
    "Webhook",
    "WebhookClient",
]
