"""Bodies of requests and responses about styles and their versions."""

from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, Field, StringConstraints

from scheduler.api.bodies import Body, Uri
from scheduler.api.pages import Page
from scheduler.api.parameters import VERSION_PATTERN
from scheduler.api.times import moment
from scheduler.store.styles import StyleRow
from scheduler.store.versions import VersionRow


class StyleBody(Body):
    """The weights of a style, and what is known about it."""

    weights: Uri = Field(description="A weights file of nst, such as `python -m nst_core.peers` writes.")
    card: dict[str, Any] = Field({}, description="Title, artist, year, rights, and whatever else is to be shown.")
    replace: bool = Field(False, description="Whether a style of that name gets this version instead of its own.")


class PublishBody(Body):
    """Which version a style's name is to stand for."""

    version: Annotated[str, StringConstraints(pattern=VERSION_PATTERN)] = Field(
        description="At least its first 8 digits."
    )


class StyleView(BaseModel):
    """A style and its card: painting, artist, year, rights, data, training."""

    name: str
    version: str
    card: dict[str, Any]

    @classmethod
    def of(cls, style: StyleRow) -> Self:
        """Return the view of a style."""
        return cls(name=style.name, version=style.version, card=style.card)


class StylePage(Page[StyleView, str]):
    """A page of styles; their names are the ids."""


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
            created_at=moment(row.created_at),
        )


class VersionPage(Page[VersionView, str]):
    """A page of the versions of a style, newest first; they are the ids."""
