"""Styles as requests name them: by name, which is the present version, pinned as NAME@VERSION, or blended."""

import difflib
from collections.abc import Sequence
from dataclasses import replace

from nst_core.blends import is_blend, name_of, parse_blend
from nst_core.errors import ConfigError
from nst_core.nets.transformer_config import NOT_BLENDED, TransformerConfig
from nst_core.protocol.chunks import BlendPart, StyleRef
from nst_core.styles import version_of_blend
from scheduler.domain.cards import completed
from scheduler.domain.errors import RequestInvalidError
from scheduler.domain.looks import Look, look_of
from scheduler.store import styles as access
from scheduler.store import versions
from scheduler.store.database import Connection
from scheduler.store.styles import StyleRow
from scheduler.store.versions import VersionRow

#: The most names that are compared with an unknown name, and the most suggestions in a message.
_COMPARED, _NAMED = 200, 10


def find_painted(connection: Connection, tenant: str, text: str, *, pointer: str) -> StyleRef:
    """Return the style or the blend of styles that a request names; raise as `find_pinned` does."""
    if not is_blend(text):
        found = find_pinned(connection, tenant, text, pointer=pointer)
        return StyleRef(
            name=found.name,
            version=found.version,
            weights=found.weights,
            index=found.index,
            fades=_fades(found),
        )
    try:
        portions = parse_blend(text)
    except ConfigError as error:
        raise RequestInvalidError(error.message, pointer=pointer) from error
    styles = [find_pinned(connection, tenant, each.style, pointer=pointer) for each in portions]
    networks = [network for style in styles if (network := _network(style)) is not None]
    if not all(networks[0].blends_with(network) for network in networks):
        raise RequestInvalidError(NOT_BLENDED, pointer=pointer)
    parts = tuple(
        BlendPart(name=each.name, version=each.version, weights=each.weights, index=each.index, share=portion.share)
        for each, portion in zip(styles, portions, strict=True)
    )
    version = version_of_blend((part.version, part.share) for part in parts)
    return StyleRef(name=name_of(portions), version=version, parts=parts, fades=all(map(_fades, styles)))


def find_look(connection: Connection, tenant: str, style: StyleRef, *, pointer: str) -> Look:
    """Return the look of a style, or of the style with the largest share of a blend, the first one of equals.

    Raises RequestInvalidError for a wrong look: cards were not always checked.
    """
    largest = max(style.parts, key=lambda part: part.share) if style.parts else style
    found = find_pinned(connection, tenant, f"{largest.name}@{largest.version}", pointer=pointer)
    try:
        return look_of(found.card)
    except ConfigError as error:
        raise RequestInvalidError(f"The card of {found.name} is wrong. {error.message}", pointer=pointer) from error


def find_pinned(connection: Connection, tenant: str, text: str, *, pointer: str) -> StyleRow:
    """Return the style that a request names; raise RequestInvalidError if there is none, or more than one."""
    name, at, prefix = text.partition("@")
    found = find_version(connection, tenant, name, prefix, pointer=pointer) if at else None
    style = as_style(found) if found else None if at else access.find_style(connection, name, tenant=tenant)
    if style is None:
        what = f"version {prefix} of a style {name!r}" if at else f"style {name!r}"
        known = access.list_names(connection, tenant=tenant, limit=_COMPARED)
        hint = "" if name in known else _suggestion(name, known)
        raise RequestInvalidError(f"There is no {what}.{hint}", pointer=pointer)
    return style


def _suggestion(name: str, known: Sequence[str]) -> str:
    """Return a sentence that names the styles which a client may have meant, or else the first ones there are."""
    if close := difflib.get_close_matches(name, known, n=3):
        return f" Did you mean {' or '.join(close)}?"
    if not known:
        return " There are no styles yet."
    more = ", …" if len(known) > _NAMED else ""
    return f" There are {', '.join(known[:_NAMED])}{more}."


def _network(style: StyleRow) -> TransformerConfig | None:
    return None if style.network is None else TransformerConfig.from_dict(style.network)


def _fades(style: StyleRow) -> bool:
    network = _network(style)
    return network is not None and network.fades(style.index)


def find_version(connection: Connection, tenant: str, name: str, prefix: str, *, pointer: str) -> VersionRow | None:
    """Return the version that a tenant knows and whose hash begins with `prefix`; RequestInvalidError for several."""
    found = versions.find_versions(connection, name, prefix, tenant=tenant)
    if len(found) > 1:
        raise RequestInvalidError(f"{len(found)} versions of {name!r} begin with {prefix}.", pointer=pointer)
    return found[0] if found else None


def to_publish(version: VersionRow, present: StyleRow | None, *, tenant: str) -> StyleRow:
    """Return a version as a tenant's style; if it was never published, the present card completes its card."""
    style = as_style(version, tenant=tenant)
    if version.published_at is not None or present is None:
        return style
    return replace(style, card=completed(style.card, present.card))


def as_style(version: VersionRow, *, tenant: str | None = None) -> StyleRow:
    """Return a style as it is with a version; with a tenant, as theirs."""
    values = {name: getattr(version, name) for name in StyleRow.__dataclass_fields__}
    return StyleRow(**values if tenant is None else {**values, "tenant": tenant})
