"""Routes that upload photos, for clients without credentials for the storage."""

import base64
import hashlib
import re
from collections.abc import AsyncGenerator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Request
from starlette.concurrency import run_in_threadpool

from nst_core.client.resources.uploads import StoredFile, Upload, UploadedFile, UploadedFilePage, UploadPage
from scheduler.api import threads
from scheduler.api.dependencies import LimitsDep, ServiceDep, TenantDep
from scheduler.api.json_bodies import JsonRoute
from scheduler.api.pages import collect
from scheduler.api.parameters import AfterId, Limit
from scheduler.api.problems import answers
from scheduler.api.resources import upload_of
from scheduler.api.spools import fill, new_spool
from scheduler.domain.errors import MediaTypeError, RequestInvalidError, TooLargeError

router = APIRouter(route_class=JsonRoute, prefix="/v1/uploads", tags=["uploads"])

UploadId = Annotated[str, Path(pattern=r"^[\w.-]{1,64}$", description="The upload's id.")]
FilePath = Annotated[str, Path(description="The path of the file within the upload, such as `2026/harbour.jpg`.")]

Digest = Annotated[
    str | None, Header(max_length=1024, description="Hash of the body, as `sha-256=:BASE64:` (RFC 9530).")
]
_SHA256 = re.compile(r"(?:^|,)\s*sha-256=:([A-Za-z0-9+/]{43}=):\s*(?:,|$)")


@router.post("", status_code=201)
def create_upload(service: ServiceDep, tenant: TenantDep) -> Upload:
    """Create an upload, to which you can add photos."""
    uploads = service.uploads
    upload = uploads.create(tenant)
    return upload_of(upload, prefix=uploads.prefix(upload))


@router.get("")
def list_uploads(service: ServiceDep, tenant: TenantDep, limit: Limit = 100, after_id: AfterId = None) -> UploadPage:
    """List the uploads, newest first."""
    uploads = service.uploads
    return collect(
        UploadPage,
        lambda most, after: uploads.all(tenant, limit=most, after=after),
        lambda upload: upload_of(upload, prefix=uploads.prefix(upload)),
        limit=limit,
        after_id=after_id,
        place=lambda upload: upload.place.dump(),
    )


@router.put("/{upload_id}", responses=answers(409))
def put_upload(upload_id: UploadId, service: ServiceDep, tenant: TenantDep) -> Upload:
    """Create an upload with an id that you choose: `upl_` and 24 hexadecimal digits.

    If you derive the id from the content of the photos, you can resume an interrupted upload.
    """
    upload = service.uploads.create(tenant, upload_id)
    return upload_of(upload, prefix=service.uploads.prefix(upload))


@router.get("/{upload_id}/files", responses=answers(502))
def list_files(
    upload_id: UploadId,
    service: ServiceDep,
    tenant: TenantDep,
    limit: Limit = 100,
    after_id: Annotated[
        str | None, Query(max_length=1024, description="The `path` of the last file of the previous page.")
    ] = None,
) -> UploadedFilePage:
    """List the files of an upload by path. For an upload that does not exist, the list is empty."""
    return collect(
        UploadedFilePage,
        lambda most, after: service.uploads.files(tenant, upload_id, limit=most, after=after),
        lambda each: UploadedFile(path=each[0], bytes=each[1]),
        limit=limit,
        after_id=after_id,
        # As many as a storage lists at once: a simple one looks through all files for each answer.
        batch=1000,
    )


@router.get("/{upload_id}")
def get_upload(upload_id: UploadId, service: ServiceDep, tenant: TenantDep) -> Upload:
    """Return an upload."""
    upload = service.uploads.get(tenant, upload_id)
    return upload_of(upload, prefix=service.uploads.prefix(upload))


@router.delete("/{upload_id}", status_code=204, responses=answers(409))
def delete_upload(upload_id: UploadId, service: ServiceDep, tenant: TenantDep) -> None:
    """Delete an upload: the upload immediately, and its files within minutes.

    Returns 409 `in_use` if a job or training that has not ended uses it.
    """
    service.uploads.delete(tenant, upload_id)


@router.put(
    "/{upload_id}/{path:path}",
    status_code=201,
    responses=answers(409, 413, 415, 502),
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
) -> StoredFile:
    """Add a file to the upload: the request's body is its content.

    If the request has a `Content-Digest` with SHA-256, a body with a different hash is rejected and not stored.
    """
    if request.headers.get("Content-Type", "").partition(";")[0].strip().lower() == "multipart/form-data":
        raise MediaTypeError("Send the file itself as the body, not a form: curl -T FILE, not curl -F.")
    # Check the path before the file is received.
    await run_in_threadpool(service.uploads.check, tenant, upload_id, path)
    sha256, expected = hashlib.sha256(), _sha256_of(content_digest)
    with new_spool() as file:
        await fill(file, _pieces(request, limits.max_upload_bytes, None if expected is None else sha256))
        if expected is not None and sha256.digest() != expected:
            raise RequestInvalidError("The SHA-256 hash of the body differs from Content-Digest.", pointer="")
        uri = await threads.send(service.uploads.put, tenant, upload_id, path, file)
    return StoredFile(uri=uri)


async def _pieces(request: Request, max_bytes: float | None, digest: Any) -> AsyncGenerator[bytes, None]:
    """Yield the chunks of a body and update `digest` with them; raise TooLargeError if the body is too large."""
    size = 0
    async for piece in request.stream():
        size += len(piece)
        if max_bytes is not None and size > max_bytes:
            raise TooLargeError(f"A file may have at most {max_bytes:,.0f} bytes.")
        if digest is not None:
            digest.update(piece)
        yield piece


def _sha256_of(header: str | None) -> bytes | None:
    """Return the SHA-256 hash in a Content-Digest header, or None; other algorithms are ignored."""
    found = None if header is None else _SHA256.search(header)
    return None if found is None else base64.b64decode(found[1])
