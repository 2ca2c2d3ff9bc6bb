"""Styles in the database."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from scheduler.store import versions
from scheduler.store.tables import style_versions, styles


@dataclass(frozen=True, kw_only=True)
class StyleRow:
    """A style's current version."""

    name: str
    version: str
    #: s3:// address of the weights.
    weights: str
    card: dict[str, Any]
    #: Who made it, and alone may replace or delete it; None: it comes with nst.
    tenant: str | None = None


def find_style(connection: Connection, name: str) -> StyleRow | None:
    """Return a style by name."""
    row = connection.execute(select(styles).where(styles.c.name == name)).first()
    return None if row is None else _style(row)


def list_styles(connection: Connection) -> list[StyleRow]:
    """Return all styles by name."""
    return [_style(row) for row in connection.execute(select(styles).order_by(styles.c.name))]


def put_style(connection: Connection, style: StyleRow, *, now: float) -> None:
    """Add a style or give it another version; versions themselves are kept for ever."""
    if find_style(connection, style.name) is None:
        add_style(connection, style, now=now)
        return
    _note_version(connection, style, now=now)
    values = {"version": style.version, "weights": style.weights, "card": style.card, "tenant": style.tenant}
    connection.execute(update(styles).where(styles.c.name == style.name).values(values))


def add_style(connection: Connection, style: StyleRow, *, now: float) -> None:
    """Add a style; sqlalchemy's IntegrityError says that another transaction was first with its name or version."""
    _note_version(connection, style, now=now)
    connection.execute(insert(styles).values(created_at=now, **vars(style)))


def delete_style(connection: Connection, name: str) -> None:
    """Remove a style's name; its versions stay."""
    connection.execute(delete(styles).where(styles.c.name == name))


def _note_version(connection: Connection, style: StyleRow, *, now: float) -> None:
    versions.add_version(connection, style.version, style.weights, now=now)
    versions.put_card(connection, style.name, style.version, style.card, tenant=style.tenant, now=now, published=True)


def find_weights(connection: Connection, version: str) -> str:
    """Return the s3:// address of a style version's weights."""
    query = select(style_versions.c.weights).where(style_versions.c.version == version)
    return str(connection.execute(query).scalar_one())


def _style(row: Any) -> StyleRow:
    return StyleRow(**{name: getattr(row, name) for name in StyleRow.__dataclass_fields__})
