"""From rows to objects."""

from typing import Any, TypeVar

_T = TypeVar("_T")


def build(cls: type[_T], row: Any, **given: Any) -> _T:
    """Return an object of a dataclass whose fields are columns of a row, except for those that are given."""
    fields: dict[str, Any] = vars(cls)["__dataclass_fields__"]
    values = row._mapping
    return cls(**{name: values[name] for name in fields if name not in given}, **given)
