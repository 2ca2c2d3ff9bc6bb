"""Routes to bring photos into storage, for clients without credentials of their own there."""

import tempfile
from typing import Annotated

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from scheduler.api.dependencies import LimitsDep, ServiceDep, TenantDep
from scheduler.api.problems import answers
from scheduler.errors import TooLargeError

router = APIRouter(prefix="/v1/uploads", tags=["uploads"])

_IN_MEMORY_BYTES = 16 * 2**20
UploadId = Annotated[str, Path(description="The upload's id.")]
FilePath = Annotated[str, Path(description="Its place below the upload's prefix, such as `2026/harbour.jpg`.")]


class UploadView(BaseModel):
    """A place for photos."""

    id: str
    prefix: str = Field(description="The address that all of its files are below.")


class UploadedView(BaseModel):
    """A stored photo."""

    uri: str


@router.post("", status_code=201)
def create_upload(service: ServiceDep, tenant: TenantDep) -> UploadView:
    """Make a place for photos."""
    upload_id, prefix = service.new_upload(tenant)
    return UploadView(id=upload_id, prefix=prefix)


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
    upload_id: UploadId, path: FilePath, request: Request, service: ServiceDep, tenant: TenantDep, limits: LimitsDep
) -> UploadedView:
    """Store the request's body at a path of the upload."""
    size, max_bytes = 0, limits.max_upload_bytes
    with tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES) as file:
        async for piece in request.stream():
            size += len(piece)
            if max_bytes is not None and size > max_bytes:
                raise TooLargeError(f"A file has at most {max_bytes:,.0f} bytes.")
            # Past the bytes that are kept in memory this writes to a disk, which others shall not wait for.
            if size > _IN_MEMORY_BYTES:
                await run_in_threadpool(file.write, piece)
            else:
                file.write(piece)
        file.seek(0)
        uri = await run_in_threadpool(service.upload, tenant, upload_id, path, file)
    return UploadedView(uri=uri)
