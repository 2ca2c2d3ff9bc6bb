"""Pages: the parts in which the API answers a listing."""

from typing import Any, ClassVar, Generic, TypeVar

from pydantic import ConfigDict, Field

from nst_core.client.resources.base import Resource

T = TypeVar("T", bound=Resource)
IdT = TypeVar("IdT", str, int)


def _show_page(schema: dict[str, Any], cls: type["Page[Any, Any]"]) -> None:
    """Add an example with the example of an entry."""
    entry = cls.model_fields["data"].annotation.__args__[0]  # type: ignore[union-attr]
    extra = getattr(entry, "model_config", {}).get("json_schema_extra")
    if extra is not None:
        example = extra["examples"][0]
        ids = {"first_id": example[cls.id_field], "last_id": example[cls.id_field]}
        schema["examples"] = [{"data": [example], **ids, "has_more": False}]


class Page(Resource, Generic[T, IdT]):
    """A page of a listing."""

    model_config = ConfigDict(json_schema_extra=_show_page)

    #: The field of an entry that identifies it.
    id_field: ClassVar[str] = "id"

    data: tuple[T, ...]
    first_id: IdT | None = Field(None, description="The id of the first entry.")
    last_id: IdT | None = Field(
        None,
        description="The `after_id` of the next page: the id of the last entry; for uploads and keys also its time, so "
        "that the list goes on after it is deleted.",
    )
    has_more: bool = Field(False, description="Whether there is a next page.")
