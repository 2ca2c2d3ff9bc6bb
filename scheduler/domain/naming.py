"""The names of results, from a template."""

import re
from pathlib import PurePosixPath

from nst_core.errors import ConfigError
from nst_core.formats import JPEG_SUFFIXES
from scheduler.domain.addresses import check_key

#: The most characters of a painting's name, which is a part of file names.
_MAX_PAINTING_NAME = 64
_PLACEHOLDERS = frozenset({"stem", "index", "style", "ext"})


def check_name_template(template: str) -> None:
    """Raise ConfigError unless a template uses only {stem}, {index}, {style} and {ext}, and is a safe relative key."""
    rest = re.sub(r"\{(\w+)\}", lambda match: "" if match[1] in _PLACEHOLDERS else match[0], template)
    if "{" in rest or "}" in rest:
        raise ConfigError("The name template may use {stem}, {index}, {style} and {ext}, and no other braces.")
    if not template.endswith(".{ext}"):
        raise ConfigError("The name template must end in .{ext}, so that each file's suffix fits its format.")
    check_key(template)


def output_suffix(input_key: str, format: str) -> str:
    """Return the suffix of a result, without the dot: jpg, png or webp."""
    if format != "keep":
        return {"jpeg": "jpg", "png": "png", "webp": "webp"}[format]
    suffix = PurePosixPath(input_key).suffix.lower()
    if suffix in JPEG_SUFFIXES:
        return "jpg"
    return "webp" if suffix == ".webp" else "png"


def output_key(template: str, *, input_key: str, index: int, style: str, suffix: str) -> str:
    """Return the name of a result from its template; `index` is the input's place in the job."""
    values = {"stem": PurePosixPath(input_key).stem, "index": f"{index:06d}", "style": style, "ext": suffix}
    return re.sub(r"\{(\w+)\}", lambda match: values[match[1]], template)


def style_of_painting(painting: str) -> str:
    """Return what the style of a painting is called in the names of results: the stem of its address."""
    return PurePosixPath(painting).stem[:_MAX_PAINTING_NAME]
