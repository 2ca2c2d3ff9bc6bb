"""The looks of styles: `look` in their cards."""

from typing import Any

from nst_core.protocol.chunks import Look
from nst_core.protocol.codec import load


def look_of(card: dict[str, Any]) -> Look:
    """Return the look in a card, without strokes and forms if there is none; raise ProtocolError for a wrong one."""
    return load(Look, card.get("look", {}))
