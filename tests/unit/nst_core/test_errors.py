"""The error classes, and the tree in their module's docstring."""

import inspect
import re

import pytest

from nst_core import errors
from nst_core.errors import ImageError, NstError

CLASSES = [value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, NstError)]
#: Classes that group others and are never raised themselves.
GROUPS = [cls for cls in CLASSES if any(cls in other.__mro__[1:] for other in CLASSES)]
LEAVES = [cls for cls in CLASSES if cls not in GROUPS]
LINE = re.compile(r"^((?:│   )*)[├└]── (\w+)(?: +(\w+))?( \(retryable\))?$", re.MULTILINE)


def drawn() -> dict[str, tuple[str, str | None, bool]]:
    """Return the parent, the code and the retryable flag of each class in the docstring's tree."""
    tree = {}
    above = ["NstError"]
    for indent, name, code, retryable in LINE.findall(errors.__doc__ or ""):
        depth = len(indent) // 4 + 1
        above[depth:] = [name]
        tree[name] = (above[depth - 1], code or None, bool(retryable))
    return tree


def test_the_tree_shows_every_class_with_its_code_and_parent() -> None:
    expected = {
        cls.__name__: (cls.__mro__[1].__name__, cls.code if cls in LEAVES else None, cls.retryable and cls in LEAVES)
        for cls in CLASSES
        if cls is not NstError
    }
    assert drawn() == expected


def test_every_code_belongs_to_one_class() -> None:
    codes = [cls.code for cls in LEAVES]
    assert len(set(codes)) == len(codes)
    assert NstError.code not in codes
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", code) for code in codes)


@pytest.mark.parametrize("cls", CLASSES)
def test_an_error_has_its_message(cls: type[NstError]) -> None:
    error = cls("Something is wrong.")
    assert error.message == str(error) == "Something is wrong."


@pytest.mark.parametrize("cls", CLASSES)
def test_every_class_has_a_docstring(cls: type[NstError]) -> None:
    assert (cls.__doc__ or "").endswith(".")


def test_no_image_error_is_retryable() -> None:
    assert not any(cls.retryable for cls in CLASSES if issubclass(cls, ImageError))
