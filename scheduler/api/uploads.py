"""Routes to bring photos into storage, for clients without credentials of their own there."""

import base64
import hashlib
import re
import tempfile
from typing import Annotated

from fastapi import APIRouter, Header, Path, Query, Request
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from scheduler.api.dependencies import LimitsDep, ServiceDep, TenantDep
from scheduler.api.pages import Page
from scheduler.api.parameters import Limit
from scheduler.api.problems import answers
from scheduler.errors import RequestInvalidError, TooLargeError

router = APIRouter(prefix="/v1/uploads", tags=["uploads"])

_IN_MEMORY_BYTES = 16 * 2**20
UploadId = Annotated[str, Path(description="The upload's id.")]
FilePath = Annotated[str, Path(description="Its place below the upload's prefix, such as `2026/harbour.jpg`.")]
Digest = Annotated[
    str | None, Header(max_length=1024, description="Hash of the body, as `sha-256=:BASE64:` (RFC 9530).")
]
_SHA256 = re.compile(r"(?:^|,)\s*sha-256=:([A-Za-z0-9+/]{43}=):\s*(?:,|$)")


class UploadView(BaseModel):
    """A place for photos."""

    id: str
    prefix: str = Field(description="The address that all of its files are below.")


class UploadedView(BaseModel):
    """A stored photo."""

    uri: str


class UploadFileView(BaseModel):
    """A file of an upload."""

    path: str = Field(description="Its place below the upload's prefix.")
    bytes: int


class UploadFilePage(Page[UploadFileView, str]):
    """A page of the files of an upload."""


@router.post("", status_code=201)
def create_upload(service: ServiceDep, tenant: TenantDep) -> UploadView:
    """Make a place for photos."""
    upload_id, prefix = service.new_upload(tenant)
    return UploadView(id=upload_id, prefix=prefix)


@router.put("/{upload_id}")
def put_upload(upload_id: UploadId, service: ServiceDep, tenant: TenantDep) -> UploadView:
    """Make a place for photos under an id of your own: `upl_` and 24 hexadecimal digits.

    An id that is derived from the content of the photos lets an upload that was interrupted go on where it stopped.
    """
    upload_id, prefix = service.new_upload(tenant, upload_id)
    return UploadView(id=upload_id, prefix=prefix)


@router.get("/{upload_id}/files", responses=answers(502))
def list_files(
    upload_id: UploadId,
    service: ServiceDep,
    tenant: TenantDep,
    limit: Limit = 100,
    after_id: Annotated[str | None, Query(max_length=1024, description="The `path` of the last file you have.")] = None,
) -> UploadFilePage:
    """List the files of an upload by path; an upload that nobody made has none."""
    found = service.uploaded(tenant, upload_id, after=after_id, limit=limit + 1)
    views = (UploadFileView(path=path, bytes=size) for path, size in found.items())
    return UploadFilePage.of(views, limit=limit, id="path")


@router.put(
    "/{upload_id}/{path:path}",
    status_code=201,
    responses=answers(413, 502),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def put_file(
    upload_id: UploadId,
    path: FilePath,
    request: Request,
    service: ServiceDep,
    tenant: TenantDep,
    limits: LimitsDep,
    content_digest: Digest = None,
) -> UploadedView:
    """Store the request's body at a path of the upload.

    With a `Content-Digest` of SHA-256, a body that has another one is refused, and nothing is stored.
    """
    size, max_bytes, sha256, expected = 0, limits.max_upload_bytes, hashlib.sha256(), _sha256_of(content_digest)
    with tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES) as file:
        async for piece in request.stream():
            size += len(piece)
            if max_bytes is not None and size > max_bytes:
                raise TooLargeError(f"A file has at most {max_bytes:,.0f} bytes.")
            if expected is not None:
                sha256.update(piece)
            # Past the bytes that are kept in memory this writes to a disk, which others shall not wait for.
            if size > _IN_MEMORY_BYTES:
                await run_in_threadpool(file.write, piece)
            else:
                file.write(piece)
        if expected is not None and sha256.digest() != expected:
            raise RequestInvalidError("The body is not the one that Content-Digest names.", pointer="")
        file.seek(0)
        uri = await run_in_threadpool(service.upload, tenant, upload_id, path, file)
    return UploadedView(uri=uri)


def _sha256_of(header: str | None) -> bytes | None:
    """Return the SHA-256 hash that a Content-Digest header has, or None; other algorithms may be ignored."""
    found = None if header is None else _SHA256.search(header)
    return None if found is None else base64.b64decode(found[1])
