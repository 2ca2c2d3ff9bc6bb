"""The Python client of the HTTP API: `Client`, `AsyncClient` for asyncio, and what they send and get.

`_async` is written by hand, `_sync` is generated from it (`make client`), and code that needs no connection is shared.
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
from nst_core.client.resources.access import Key, Limits, NewKey, OwnTenant, Scope, Tenant, Usage
from nst_core.client.resources.base import Failure
from nst_core.client.resources.events import Event, EventType
from nst_core.client.resources.items import Item, ItemStatus, Progress
from nst_core.client.resources.jobs import (
    Check,
    CheckProblem,
    Counts,
    Job,
    JobInput,
    JobRegion,
    JobRequest,
    JobStatus,
    Output,
    Priority,
    Region,
    StopReason,
)
from nst_core.client.resources.methods import Optimize
from nst_core.client.resources.runs import ForkRequest, Photos, Run, RunStatus, Sample, TrainRequest
from nst_core.client.resources.styles import Preset, Style, StyleVersion
from nst_core.client.resources.uploads import Upload, UploadedFile
from nst_core.client.resources.webhooks import Delivery, DeliveryStatus, NewSecret, Webhook

__all__ = [
    "ApiError",
    "AsyncClient",
    "AsyncKeyClient",
    "AsyncRunClient",
    "AsyncTenantClient",
    "AsyncWebhookClient",
    "Check",
    "CheckProblem",
    "Client",
    "Counts",
    "Delivery",
    "DeliveryStatus",
    "Event",
    "EventType",
    "Failure",
    "ForkRequest",
    "Item",
    "ItemStatus",
    "Job",
    "JobInput",
    "JobRegion",
    "JobRequest",
    "JobStatus",
    "Key",
    "KeyClient",
    "Limits",
    "NewKey",
    "NewSecret",
    "Optimize",
    "Output",
    "OwnTenant",
    "Photos",
    "Preset",
    "Priority",
    "Progress",
    "Region",
    "Run",
    "RunClient",
    "RunStatus",
    "Sample",
    "Scope",
    "StopReason",
    "Style",
    "StyleVersion",
    "Tenant",
    "TenantClient",
    "TrainRequest",
    "UnreachableError",
    "Upload",
    "UploadedFile",
    "Usage",
    "Webhook",
    "WebhookClient",
]
