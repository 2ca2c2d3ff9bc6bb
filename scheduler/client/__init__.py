"""The Python client of the HTTP API: `Client`, and `AsyncClient` for asyncio.

`_async` is written by hand, `_sync` is generated from it (`make client`), and what needs no connection is shared.
"""

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

__all__ = [
    "ApiError",
    "AsyncClient",
    "AsyncKeyClient",
    "AsyncRunClient",
    "AsyncTenantClient",
    "AsyncWebhookClient",
    "Client",
    "Event",
    "KeyClient",
    "RunClient",
    "TenantClient",
    "UnreachableError",
    "WebhookClient",
]
