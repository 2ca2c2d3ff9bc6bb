"""API keys and styles in the database."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select, update

from scheduler.store.tables import api_keys, style_versions, styles


@dataclass(frozen=True, kw_only=True)
class StyleRow:
    """A style's current version."""

    name: str
    version: str
    #: s3:// address of the weights.
    weights: str
    card: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class ApiKeyRow:
    """A key's hash and whose it is."""

    prefix: str
    sha256: str
    tenant: str


def find_key(connection: Connection, prefix: str) -> ApiKeyRow | None:
    """Return the key with a prefix."""
    row = connection.execute(select(api_keys).where(api_keys.c.prefix == prefix)).first()
    return None if row is None else ApiKeyRow(prefix=row.prefix, sha256=row.sha256, tenant=row.tenant)


def put_key(connection: Connection, key: ApiKeyRow, *, now: float) -> None:
    """Add a key, or replace the one with its prefix."""
    values = {"sha256": key.sha256, "tenant": key.tenant}
    if find_key(connection, key.prefix):
        connection.execute(update(api_keys).where(api_keys.c.prefix == key.prefix).values(values))
    else:
        connection.execute(insert(api_keys).values(prefix=key.prefix, created_at=now, **values))


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
    _add_version(connection, style, now=now)
    values = {"version": style.version, "weights": style.weights, "card": style.card}
    connection.execute(update(styles).where(styles.c.name == style.name).values(values))


def add_style(connection: Connection, style: StyleRow, *, now: float) -> None:
    """Add a style; sqlalchemy's IntegrityError says that another transaction was first with its name or version."""
    _add_version(connection, style, now=now)
    values = {"version": style.version, "weights": style.weights, "card": style.card}
    connection.execute(insert(styles).values(name=style.name, created_at=now, **values))


def _add_version(connection: Connection, style: StyleRow, *, now: float) -> None:
    known = select(style_versions.c.version).where(style_versions.c.version == style.version)
    if connection.execute(known).first() is None:
        connection.execute(insert(style_versions).values(version=style.version, weights=style.weights, created_at=now))


def find_weights(connection: Connection, version: str) -> str:
    """Return the s3:// address of a style version's weights."""
    query = select(style_versions.c.weights).where(style_versions.c.version == version)
    return str(connection.execute(query).scalar_one())


def _style(row: Any) -> StyleRow:
    return StyleRow(name=row.name, version=row.version, weights=row.weights, card=row.card)
