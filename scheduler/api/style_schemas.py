"""Bodies of requests and responses about versions of styles."""

from datetime import UTC, datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from scheduler.store.versions import VersionRow

#: At least the first 8 digits of a version.
VERSION_PATTERN = r"^[0-9a-f]{8,64}$"


class PublishBody(BaseModel):
    """Which version a style's name is to stand for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Annotated[str, StringConstraints(pattern=VERSION_PATTERN)] = Field(
        description="At least its first 8 digits."
    )


class VersionView(BaseModel):
    """A version of a style, and its card."""

    name: str
    version: str
    card: dict[str, Any]
    current: bool = Field(description="Whether the name stands for this version.")
    published: bool = Field(description="Whether it ever did.")
    run: str | None = Field(description="The run that made it.")
    created_at: datetime

    @classmethod
    def of(cls, row: VersionRow, *, present: str | None) -> Self:
        """Return the view of a version; `present` is the one that the name stands for."""
        return cls(
            name=row.name,
            version=row.version,
            card=row.card,
            current=row.version == present,
            published=row.published_at is not None,
            run=row.run_id,
            created_at=datetime.fromtimestamp(row.created_at, UTC),
        )


class VersionPage(BaseModel):
    """A page of the versions of a style, newest first; they are the ids."""

    data: list[VersionView]
    first_id: str | None
    last_id: str | None
    has_more: bool
