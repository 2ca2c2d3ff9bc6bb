"""The addresses of inline photos in a column of their own, so that listings do not load them."""

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_ROWS = 100
_jobs = sa.table(
    "jobs",
    sa.column("id", sa.String),
    sa.column("spec", sa.JSON),
    sa.column("input_uris", sa.JSON(none_as_null=True)),
    sa.column("input_count", sa.Integer),
)


def upgrade() -> None:
    op.add_column("jobs", sa.Column("input_uris", sa.JSON(), nullable=True))
    op.add_column("jobs", sa.Column("input_count", sa.Integer(), nullable=True))
    for row in _rows():
        source = row.spec.get("input") or {}
        uris = source.get("uris")
        if uris is not None:
            spec = {**row.spec, "input": {**source, "uris": None}}
            _update(row.id, spec=spec, input_uris=uris, input_count=len(uris))


def downgrade() -> None:
    for row in _rows():
        if row.input_uris is not None:
            source = row.spec.get("input") or {}
            _update(row.id, spec={**row.spec, "input": {**source, "uris": row.input_uris}})
    with op.batch_alter_table("jobs") as batch:
        batch.drop_column("input_count")
        batch.drop_column("input_uris")


def _rows() -> Iterator[Any]:
    """Yield all jobs, a few at a time: each may have megabytes."""
    connection, after = op.get_bind(), ""
    columns = [_jobs.c.id, _jobs.c.spec, _jobs.c.input_uris]
    while rows := connection.execute(
        sa.select(*columns).where(_jobs.c.id > after).order_by(_jobs.c.id).limit(_ROWS)
    ).all():
        yield from rows
        after = rows[-1].id


def _update(id: str, **values: object) -> None:
    op.get_bind().execute(sa.update(_jobs).where(_jobs.c.id == id).values(values))
