"""The Python client of the HTTP API: `Client`, and `AsyncClient` for asyncio, with what they send and get.

`_async` is written by hand, `_sync` is generated from it (`make client`), and what needs no connection is shared.
"""

from nst_core.client._async.client import AsyncClient
from nst_core.client._async.key_client import AsyncKeyClient, AsyncTenantClient
from nst_core.client._async.run_client import AsyncRunClient
from nst_core.client._async.webhook_client import AsyncWebhookClient
from nst_core.client._sync.client import Client
from nst_core.client._sync.key_client import KeyClient, TenantClient
from nst_core.client._sync.run_client import RunClient
from nst_core.client._sync.webhook_client import WebhookClient
from nst_core.client.errors import ApiError, UnreachableError
from nst_core.client.events import Event
from nst_core.protocol.chunks import ItemStatus
from scheduler.access.resources import Key, NewKey, OwnTenant, Tenant
from scheduler.domain.jobs import JobInput, JobStatus, Priority
from scheduler.domain.runs import RunStatus
from scheduler.resources import Check, Item, Job, JobRequest, Optimize, Output, Style, Upload, UploadedFile
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
