"""Versions of styles in the database: each with its card, who made it, and whether others know of it."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, insert, or_, select, update

from scheduler.store.tables import style_cards, style_versions


@dataclass(frozen=True, kw_only=True)
class VersionRow:
    """A version that a style's name has or had, or that waits to be published under it."""

    name: str
    version: str
    #: s3:// address of the weights.
    weights: str
    card: dict[str, Any]
    #: Who made it; None: it comes with nst.
    tenant: str | None
    run_id: str | None
    created_at: float
    #: None: it was never published, and only its tenant knows of it.
    published_at: float | None


def add_version(connection: Connection, version: str, weights: str, *, now: float) -> None:
    """Note where the weights of a version are; versions are kept for ever."""
    known = select(style_versions.c.version).where(style_versions.c.version == version)
    if connection.execute(known).first() is None:
        connection.execute(insert(style_versions).values(version=version, weights=weights, created_at=now))


def put_card(
    connection: Connection,
    name: str,
    version: str,
    card: dict[str, Any],
    *,
    tenant: str | None,
    now: float,
    run_id: str | None = None,
    published: bool = False,
) -> None:
    """Note a version under a name, or give it another card; that of another tenant keeps the card that it has.

    sqlalchemy's IntegrityError says that another transaction was first.
    """
    own = (style_cards.c.name == name, style_cards.c.version == version)
    row = connection.execute(select(style_cards).where(*own)).first()
    values: dict[str, Any] = {}
    if row is None or row.tenant == tenant:
        values["card"] = card
        if run_id is not None:
            values["run_id"] = run_id
    if published and (row is None or row.published_at is None):
        values["published_at"] = now
    if row is None:
        connection.execute(
            insert(style_cards).values(name=name, version=version, tenant=tenant, created_at=now, **values)
        )
    elif values:
        connection.execute(update(style_cards).where(*own).values(values))


def list_versions(connection: Connection, name: str, *, tenant: str) -> list[VersionRow]:
    """Return the versions of a name that a tenant may know of, newest first."""
    return _select(connection, style_cards.c.name == name, _known_to(tenant))


def find_versions(connection: Connection, name: str, prefix: str, *, tenant: str) -> list[VersionRow]:
    """Return those versions of a name that a tenant may know of and that begin with `prefix`, some hex digits."""
    return _select(
        connection,
        style_cards.c.name == name,
        style_cards.c.version.startswith(prefix, autoescape=True),
        _known_to(tenant),
    )


def _known_to(tenant: str) -> ColumnElement[bool]:
    return or_(style_cards.c.tenant == tenant, style_cards.c.published_at.is_not(None))


def _select(connection: Connection, *conditions: ColumnElement[bool]) -> list[VersionRow]:
    columns = [style_cards.c[name] for name in VersionRow.__dataclass_fields__ if name != "weights"]
    query = (
        select(*columns, style_versions.c.weights)
        .join(style_versions, style_versions.c.version == style_cards.c.version)
        .where(*conditions)
        .order_by(style_cards.c.created_at.desc(), style_cards.c.version)
    )
    return [VersionRow(**row._mapping) for row in connection.execute(query)]
