"""Base classes and types that several resources share."""

from collections.abc import Iterator
from datetime import UTC, datetime
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticKnownError

#: The largest id and count that every database stores.
MAX_ID = 2**63 - 1
ID_PATTERN = r"^[\w.-]{1,64}$"
CODE_PATTERN = r"^[a-z0-9_]{1,64}$"
_FIRST = datetime(1970, 1, 1, tzinfo=UTC)
#: Python's calendar ends a year later, in any time zone.
LAST_MOMENT = datetime(9998, 12, 31, tzinfo=UTC)


def _check_moment(value: datetime) -> datetime:
    if not _FIRST <= value <= LAST_MOMENT:
        raise ValueError("a time is between the years 1970 and 9998")
    return value.astimezone(UTC)


#: A time with an offset, kept as UTC.
Moment = Annotated[AwareDatetime, AfterValidator(_check_moment)]
#: The address of an object or a prefix.
Uri = Annotated[str, StringConstraints(min_length=1, max_length=2048, pattern=r"^s3://")]
Code = Annotated[str, StringConstraints(pattern=CODE_PATTERN)]
#: Fields of a config with other values than those of its preset.
Options = Annotated[dict[Annotated[str, StringConstraints(max_length=64)], JsonValue], Field(max_length=100)]


def is_number(annotation: Any) -> bool:
    """Return whether a field of this type takes nothing but numbers."""
    if get_origin(annotation) is Literal:
        return all(isinstance(value, int) for value in get_args(annotation))
    if get_origin(annotation) is Annotated:
        return is_number(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return all(is_number(each) for each in get_args(annotation) if each is not NoneType)
    return annotation in (int, float)


class Request(BaseModel):
    """The body of a request, or a part of it. Unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*", mode="before")
    @classmethod
    def _check_truth(cls, value: object, info: ValidationInfo) -> object:
        """Refuse true and false where a number is asked for: Python would take them for 1 and 0."""
        if isinstance(value, bool) and is_number(cls.model_fields[str(info.field_name)].annotation):
            raise PydanticKnownError("float_type")
        return value


class Resource(BaseModel):
    """An answer, or a part of it. Unknown fields are ignored, so an older client reads the answers of a newer API."""

    # The API sends every field, so its document lists them all as required. A command needs a few of the classes only,
    # so each is built when it is first used, which is safe in several threads since pydantic 2.14.
    model_config = ConfigDict(
        extra="ignore", frozen=True, json_schema_serialization_defaults_required=True, defer_build=True
    )


class Failure(Resource):
    """Why a job, an item or a run failed."""

    code: str = Field(description="Stable, for programs; `GET /v1/errors` lists all codes.")
    message: str = Field(description="A sentence for people.")


def shown(*examples: dict[str, Any]) -> ConfigDict:
    """Return the part of a model's config that puts examples into the OpenAPI document."""
    return ConfigDict(json_schema_extra={"examples": list(examples)})


def examples_of(model: type[BaseModel]) -> list[dict[str, Any]]:
    """Return the examples of a model."""
    extra, schema = model.model_config.get("json_schema_extra"), dict[str, Any]()
    if callable(extra):
        extra(schema, model)  # type: ignore[call-arg]  # takes the model too
    elif extra is not None:
        schema.update(extra)
    return list(schema.get("examples", ()))


def subclasses(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """Yield all models that are derived from one."""
    for each in model.__subclasses__():
        yield each
        yield from subclasses(each)
