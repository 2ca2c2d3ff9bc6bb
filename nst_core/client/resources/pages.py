"""Pages: the parts in which the API answers a listing."""

from typing import Generic, TypeVar

from pydantic import Field

from nst_core.client.resources.base import Resource

T = TypeVar("T", bound=Resource)
IdT = TypeVar("IdT", str, int)


class Page(Resource, Generic[T, IdT]):
    """A page of a listing."""

    data: tuple[T, ...]
    first_id: IdT | None = Field(None, description="The id of the first entry.")
    last_id: IdT | None = Field(None, description="The id of the last entry: the `after_id` of the next page.")
    has_more: bool = Field(False, description="Whether there is a next page.")
