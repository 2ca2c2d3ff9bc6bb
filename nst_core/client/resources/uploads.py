"""Uploads: places in the storage for the photos of clients."""

from pydantic import AwareDatetime, Field

from nst_core.client.resources.base import Resource, shown
from nst_core.client.resources.pages import Page


class Upload(Resource):
    """A place for photos."""

    model_config = shown(
        {
            "id": "upl_3f9a10c2b4d1019ab5e0c8a4",
            "prefix": "s3://nst/tenants/gallery/uploads/upl_3f9a10c2b4d1019ab5e0c8a4/",
            "created_at": "2026-11-22T12:00:00Z",
            "used_at": "2026-11-22T12:00:00Z",
        }
    )

    id: str
    prefix: str = Field(description="The address below which all of its files are.")
    created_at: AwareDatetime
    used_at: AwareDatetime = Field(description="When the last file came, to the hour.")


class UploadPage(Page[Upload, str]):
    """A page of uploads, newest first."""


class StoredFile(Resource):
    """A file that was stored."""

    model_config = shown({"uri": "s3://nst/tenants/gallery/uploads/upl_3f9a10c2b4d1019ab5e0c8a4/2026/harbour.jpg"})

    uri: str


class UploadedFile(Resource):
    """A file of an upload."""

    model_config = shown({"path": "2026/harbour.jpg", "bytes": 4_271_008})

    path: str = Field(description="Its path below the upload's prefix.")
    bytes: int


class UploadedFilePage(Page[UploadedFile, str]):
    """A page of the files of an upload; their paths are the ids."""

    id_field = "path"
