"""Styles in the database."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, insert, select, update

from scheduler.store import versions
from scheduler.store.tables import SHIPPED, styles


@dataclass(frozen=True, kw_only=True)
class StyleRow:
    """A style's current version."""

    name: str
    version: str
    #: s3:// address of the weights.
    weights: str
    #: Which style of the network in the weights file it is, from 0.
    index: int = 0
    #: The config of this network, a TransformerConfig from its `to_dict`; None: not known.
    network: dict[str, Any] | None = None
    card: dict[str, Any]
    #: Who made it, and alone sees it; `SHIPPED`: it comes with nst, and all see it.
    tenant: str = SHIPPED


def find_style(connection: Connection, name: str, *, tenant: str) -> StyleRow | None:
    """Return the style that a tenant sees by a name: its own one, or else one that comes with nst."""
    rows = list(_select(connection, tenant, styles.c.name == name))
    return rows[0] if rows else None


def list_styles(connection: Connection, *, tenant: str, limit: int, after: str = "") -> list[StyleRow]:
    """Return up to `limit` styles that a tenant sees, ordered by name, after a name."""
    found: dict[str, StyleRow] = {}
    # A name appears at most twice.
    for style in _select(connection, tenant, styles.c.name > after, limit=2 * limit):
        found.setdefault(style.name, style)
    return list(found.values())[:limit]


def list_names(connection: Connection, *, tenant: str, limit: int) -> list[str]:
    """Return the first names of styles, up to `limit`, that a tenant sees."""
    query = select(styles.c.name).where(styles.c.tenant.in_((tenant, SHIPPED))).distinct().order_by(styles.c.name)
    return list(connection.execute(query.limit(limit)).scalars())


def put_style(connection: Connection, style: StyleRow, *, now: float) -> None:
    """Add a style or give it another version. Versions are kept forever."""
    present = (styles.c.tenant == style.tenant, styles.c.name == style.name)
    if connection.execute(select(styles.c.name).where(*present)).first() is None:
        add_style(connection, style, now=now)
        return
    _note_version(connection, style, now=now)
    values = {name: value for name, value in vars(style).items() if name not in ("tenant", "name")}
    connection.execute(update(styles).where(*present).values(values))


def add_style(connection: Connection, style: StyleRow, *, now: float) -> None:
    """Add a style; raise RowConflictError if another transaction has added its name or version."""
    _note_version(connection, style, now=now)
    connection.execute(insert(styles).values(created_at=now, **vars(style)))


def delete_style(connection: Connection, name: str, *, tenant: str) -> None:
    """Remove the name of a tenant's own style; its versions stay."""
    connection.execute(delete(styles).where(styles.c.tenant == tenant, styles.c.name == name))


def _note_version(connection: Connection, style: StyleRow, *, now: float) -> None:
    versions.add_version(connection, style.version, style.weights, style.index, style.network, now=now)
    versions.put_card(connection, style.name, style.version, style.card, tenant=style.tenant, now=now, published=True)


def _select(
    connection: Connection, tenant: str, *conditions: ColumnElement[bool], limit: int | None = None
) -> Iterator[StyleRow]:
    """Yield the styles that a tenant sees by name, its own before those that come with nst."""
    columns = [styles.c[name] for name in StyleRow.__dataclass_fields__]
    seen = styles.c.tenant.in_((tenant, SHIPPED))
    query = select(*columns).where(seen, *conditions).order_by(styles.c.name, styles.c.tenant.desc()).limit(limit)
    return (StyleRow(**row._mapping) for row in connection.execute(query))
