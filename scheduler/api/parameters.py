"""Parameters that many routes have, as the OpenAPI document describes them."""

from typing import Annotated

from fastapi import Header, Path, Query

from nst_core.client.resources.access import TENANT_PATTERN
from nst_core.client.resources.base import ID_PATTERN, MAX_ID
from nst_core.client.resources.styles import NEW_STYLE_PATTERN, VERSION_PATTERN

_AFTER = "The `last_id` of the previous page. Omit it for the first page."

Limit = Annotated[int, Query(ge=1, le=1000, description="The maximum number of entries in a page.")]
AfterId = Annotated[str | None, Query(pattern=ID_PATTERN, description=_AFTER)]
AfterFile = Annotated[str | None, Query(max_length=255, description=_AFTER)]
AfterVersion = Annotated[str | None, Query(pattern=r"^[0-9a-f]{64}$", description=_AFTER)]
AfterNumber = Annotated[int | None, Query(ge=0, le=MAX_ID, description=_AFTER)]
AfterItem = Annotated[
    int, Query(ge=-1, le=MAX_ID, description="The `last_id` of the previous page; -1 for the first page.")
]

JobId = Annotated[str, Path(pattern=r"^[A-Za-z0-9._-]{1,64}$", description="The job's id, or its custom id.")]
ItemId = Annotated[int, Path(ge=0, le=MAX_ID, description="The item's position in its job, from 0.")]
RunId = Annotated[str, Path(pattern=ID_PATTERN, description="The run's id.")]
WebhookId = Annotated[str, Path(pattern=ID_PATTERN, description="The webhook's id.")]
DeliveryId = Annotated[int, Path(ge=0, le=MAX_ID, description="The delivery's id.")]
KeyId = Annotated[str, Path(pattern=r"^[0-9a-f]{8}$", description="The 8 digits of the key.")]
TenantId = Annotated[str, Path(pattern=TENANT_PATTERN, description="The tenant's name.")]
StyleName = Annotated[str, Path(pattern=ID_PATTERN, description="The style's name.")]
#: Stricter than for reading: names become parts of file names of results, where . and .. would be folders.
NewStyleName = Annotated[str, Path(pattern=NEW_STYLE_PATTERN, description="The style's name.")]
Version = Annotated[
    str | None,
    Query(
        pattern=VERSION_PATTERN, description="At least the first 8 digits of a version. Default: the current version."
    ),
]
IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=255,
        description="A unique key chosen by the client. A repeat with the same key returns the first result "
        "instead of creating another.",
    ),
]
