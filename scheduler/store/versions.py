"""Versions of styles in the database: each with its card, and who made it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, insert, select, update

from scheduler.store.tables import SHIPPED, style_cards, style_versions


@dataclass(frozen=True, kw_only=True)
class VersionRow:
    """A version that a style's name has or had, or that waits to be published under it."""

    name: str
    version: str
    #: s3:// address of the weights.
    weights: str
    #: Which style of the network in the weights file it is, from 0, and the config of this network.
    index: int
    network: dict[str, Any] | None
    card: dict[str, Any]
    #: Who made it, and alone sees it; "": it comes with nst.
    tenant: str
    run_id: str | None
    created_at: float
    #: None: it was never published.
    published_at: float | None


def add_version(
    connection: Connection, version: str, weights: str, index: int, network: dict[str, Any] | None, *, now: float
) -> None:
    """Record a version's weights and the config of their network; versions are kept forever."""
    known = select(style_versions.c.version).where(style_versions.c.version == version)
    if connection.execute(known).first() is None:
        values = {"version": version, "weights": weights, "index": index, "network": network, "created_at": now}
        connection.execute(insert(style_versions).values(values))


def put_card(
    connection: Connection,
    name: str,
    version: str,
    card: dict[str, Any],
    *,
    tenant: str,
    now: float,
    run_id: str | None = None,
    published: bool = False,
) -> None:
    """Record a version under a tenant's name of a style, or give it another card.

    RowConflictError says that another transaction was first.
    """
    own = (style_cards.c.tenant == tenant, style_cards.c.name == name, style_cards.c.version == version)
    row = connection.execute(select(style_cards).where(*own)).first()
    values: dict[str, Any] = {"card": card}
    if run_id is not None:
        values["run_id"] = run_id
    if published and (row is None or row.published_at is None):
        values["published_at"] = now
    if row is None:
        connection.execute(
            insert(style_cards).values(name=name, version=version, tenant=tenant, created_at=now, **values)
        )
    else:
        connection.execute(update(style_cards).where(*own).values(values))


def list_hashes(connection: Connection, name: str, *, tenant: str) -> list[str]:
    """Return the versions of a name that a tenant sees, newest first, without their cards."""
    query = (
        select(style_cards.c.version)
        .where(style_cards.c.tenant.in_((tenant, SHIPPED)), style_cards.c.name == name)
        .order_by(style_cards.c.created_at.desc(), style_cards.c.version)
    )
    return list(dict.fromkeys(connection.execute(query).scalars()))


def list_versions(
    connection: Connection, name: str, *, tenant: str, only: Sequence[str] | None = None
) -> list[VersionRow]:
    """Return the versions of a name that a tenant sees, newest first: all, or some of them."""
    if only is None:
        return _select(connection, tenant, style_cards.c.name == name)
    return _select(connection, tenant, style_cards.c.name == name, style_cards.c.version.in_(only))


def find_versions(connection: Connection, name: str, prefix: str, *, tenant: str) -> list[VersionRow]:
    """Return those versions of a name that a tenant sees and that begin with `prefix`, some hex digits."""
    begins = style_cards.c.version.startswith(prefix, autoescape=True)
    return _select(connection, tenant, style_cards.c.name == name, begins)


def _select(connection: Connection, tenant: str, *conditions: ColumnElement[bool]) -> list[VersionRow]:
    """Return what a tenant sees, each version once: its own rather than that which comes with nst."""
    columns = [
        style_cards.c[name] if name in style_cards.c else style_versions.c[name]
        for name in VersionRow.__dataclass_fields__
    ]
    query = (
        select(*columns)
        .join(style_versions, style_versions.c.version == style_cards.c.version)
        .where(style_cards.c.tenant.in_((tenant, SHIPPED)), *conditions)
        .order_by(style_cards.c.created_at.desc(), style_cards.c.version)
    )
    rows = [VersionRow(**row._mapping) for row in connection.execute(query)]
    own = {row.version for row in rows if row.tenant != SHIPPED}
    return [row for row in rows if row.tenant != SHIPPED or row.version not in own]
