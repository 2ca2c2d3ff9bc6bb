"""Turning the protocol's dataclasses into JSON and back, with checks.

Building a pydantic adapter takes about a millisecond and using one takes microseconds, so each is built once.
"""

from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from nst_core.errors import ProtocolError

_T = TypeVar("_T")
_ADAPTERS: dict[Any, TypeAdapter[Any]] = {}


def adapter_of(cls: type[Any]) -> TypeAdapter[Any]:
    """Return the adapter of a type."""
    adapter = _ADAPTERS.get(cls)
    if adapter is None:
        adapter = _ADAPTERS[cls] = TypeAdapter(cls)
    return adapter


def dump(value: Any) -> dict[str, Any]:
    """Return a dataclass as JSON-ready values."""
    values: dict[str, Any] = adapter_of(type(value)).dump_python(value, mode="json")
    return values


def load(cls: type[_T], values: Any) -> _T:
    """Return an instance of `cls` from JSON, as bytes or already parsed.

    Raises ProtocolError, which names the field, if a field is missing or wrong.
    """
    adapter = adapter_of(cls)
    try:
        result: _T = adapter.validate_json(values) if isinstance(values, bytes) else adapter.validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "message"
        raise ProtocolError(f"A {cls.__name__} message is wrong at {where}: {first['msg']}.") from error
    return result
