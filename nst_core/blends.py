"""Blends of styles, as users write them and as results are named after them. Never loads torch.

A blend is written as `great_wave:0.6,udnie:0.4`. Its shares are whole thousandths that sum to 1, and its styles are in
the order of their shares, so equal blends have the same name however they were written.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from nst_core.errors import ConfigError

MAX_STYLES = 4
#: The most characters of a blend's name, which is a part of file names.
MAX_NAME = 200
_THOUSAND = 1000
_TOO_SMALL = "Every style of a blend has a share above 0, and at least 0.001 of the whole."
_SHARE = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")


@dataclass(frozen=True, kw_only=True)
class Portion:
    """A style of a blend and its share."""

    #: NAME or NAME@VERSION.
    style: str
    #: From 0.001 to 0.999.
    share: float

    @property
    def name(self) -> str:
        """The style's name without a version."""
        return self.style.partition("@")[0]


def is_blend(text: str) -> bool:
    """Return whether a text means a blend and not a single style, whose name has no colon."""
    return ":" in text


def parse_blend(text: str) -> tuple[Portion, ...]:
    """Return the styles of a blend, those with the largest shares first; shares are scaled so that they sum to 1.

    Raises ConfigError if the text is no blend of 2 to 4 different styles, a share is below 0.001 of the whole, or the
    blend's name is too long.
    """
    pieces = [piece.strip().rpartition(":") for piece in text.split(",")]
    if not all(style and _SHARE.fullmatch(share) for style, _, share in pieces):
        raise ConfigError(f"A blend is given as NAME:SHARE,NAME:SHARE, such as great_wave:0.6,udnie:0.4, not {text!r}.")
    if not 2 <= len(pieces) <= MAX_STYLES:
        raise ConfigError(f"A blend has 2 to {MAX_STYLES} styles, not {len(pieces)}.")
    styles = [style for style, _, _ in pieces]
    if len({style.partition("@")[0] for style in styles}) < len(styles):
        raise ConfigError("A blend names each style once.")
    portions = _portions(styles, [Fraction(share) for _, _, share in pieces])
    if len(name_of(portions)) > MAX_NAME:
        raise ConfigError(f"The styles of a blend have names of {MAX_NAME} characters together at most.")
    return portions


def text_of(portions: Sequence[Portion]) -> str:
    """Return the text of a blend, with the versions that were given."""
    return ",".join(f"{each.style}:{each.share:g}" for each in portions)


def name_of(portions: Sequence[Portion]) -> str:
    """Return the name of a blend: its text without versions."""
    return ",".join(f"{each.name}:{each.share:g}" for each in portions)


def file_name(portions: Sequence[Portion]) -> str:
    """Return what a blend is called in the names of results, such as `great_wave-60+udnie-40`, in percent.

    No style's name has a plus sign, so no other style and no other blend has the same one.
    """
    return "+".join(f"{each.name}-{100 * each.share:.3g}" for each in portions)


def styles_of(text: str) -> list[str]:
    """Return the styles, as NAME or NAME@VERSION, of a blend, or the single style that a text means."""
    return [each.style for each in parse_blend(text)] if is_blend(text) else [text]


def result_name(text: str) -> str:
    """Return what a blend or a style, as NAME or NAME@VERSION, is called in the names of results."""
    return file_name(parse_blend(text)) if is_blend(text) else text.partition("@")[0]


def _portions(styles: Sequence[str], amounts: Sequence[Fraction]) -> tuple[Portion, ...]:
    """Return the styles with whole thousandths; those that lose most by rounding down get the rest."""
    if min(amounts) == 0:
        raise ConfigError(_TOO_SMALL)
    whole = sum(amounts)
    exact = {style: amount * _THOUSAND / whole for style, amount in zip(styles, amounts, strict=True)}
    counts = {style: int(value) for style, value in exact.items()}
    rest = _THOUSAND - sum(counts.values())
    for style in sorted(styles, key=lambda each: (counts[each] - exact[each], each))[:rest]:
        counts[style] += 1
    if min(counts.values()) == 0:
        raise ConfigError(_TOO_SMALL)
    order = sorted(styles, key=lambda each: (-counts[each], each))
    return tuple(Portion(style=style, share=counts[style] / _THOUSAND) for style in order)
