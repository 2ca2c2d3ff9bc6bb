"""The looks of styles: the strokes, forms and faces that suit them, `look` in their cards."""

from dataclasses import dataclass, fields
from typing import Any

from nst_core.errors import ConfigError, ProtocolError
from nst_core.protocol.chunks import Faces, Forms, Stroke
from nst_core.protocol.codec import load

_EXPLAINED = (
    "A look is an object. Its fields are stroke, a number from 0.5 to 4, auto, fine or varied; forms, none or planes; "
    "and faces, paint, fine or protect."
)


@dataclass(frozen=True, kw_only=True)
class Look:
    """How photos are painted in a style if a job wants its look."""

    stroke: Stroke | None = None
    forms: Forms | None = None
    faces: Faces | None = None


def look_of(card: dict[str, Any]) -> Look:
    """Return the look in a card, an empty one if it has none; raise ConfigError for a wrong one."""
    look = card.get("look", {})
    if not isinstance(look, dict) or look.keys() - {each.name for each in fields(Look)}:
        raise ConfigError(_EXPLAINED, field="look")
    try:
        return load(Look, look)
    except ProtocolError as error:
        raise ConfigError(_EXPLAINED, field="look") from error
