"""Routes to bring photos into storage, for clients without credentials of their own there."""

import tempfile

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool

from scheduler.api.dependencies import ServiceDep, StateDep, TenantDep
from scheduler.api.schemas import UploadedView, UploadView
from scheduler.errors import TooLargeError

router = APIRouter(prefix="/v1/uploads", tags=["uploads"])

_IN_MEMORY_BYTES = 16 * 2**20


@router.post("", status_code=201)
def create_upload(service: ServiceDep, tenant: TenantDep) -> UploadView:
    """Make a place for photos."""
    upload_id, prefix = service.new_upload(tenant)
    return UploadView(id=upload_id, prefix=prefix)


@router.put("/{upload_id}/{path:path}", status_code=201)
async def put_file(
    upload_id: str, path: str, request: Request, state: StateDep, service: ServiceDep, tenant: TenantDep
) -> UploadedView:
    """Store the request's body at a path of the upload."""
    size = 0
    with tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES) as file:
        async for piece in request.stream():
            size += len(piece)
            if size > state.max_upload_bytes:
                raise TooLargeError(f"A photo has at most {state.max_upload_bytes:,} bytes.")
            file.write(piece)
        file.seek(0)
        uri = await run_in_threadpool(service.upload, tenant, upload_id, path, file)
    return UploadedView(uri=uri)
