"""Idempotency keys of their own, ids of clients, priorities, deadlines, labels, rates and workers."""

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_PAGE = 500
_UNPLANNED = ("queued", "planning")


def upgrade() -> None:
    _create_tables()
    with op.batch_alter_table("jobs") as batch_op:
        batch_op.add_column(sa.Column("method", sa.String(16), server_default="feedforward", nullable=False))
        batch_op.add_column(sa.Column("client_id", sa.String(64), nullable=True))
        batch_op.add_column(sa.Column("priority", sa.String(8), server_default="normal", nullable=False))
        batch_op.add_column(sa.Column("deadline", sa.Double(), nullable=True))
        batch_op.add_column(sa.Column("max_failures", sa.BigInteger(), nullable=True))
        batch_op.add_column(sa.Column("forgiven", sa.BigInteger(), server_default="0", nullable=False))
        batch_op.add_column(sa.Column("max_attempts", sa.Integer(), nullable=True))
        for name in ("planned", "unchunked", "pruned"):
            batch_op.add_column(sa.Column(name, sa.Boolean(), server_default=sa.false(), nullable=False))
        batch_op.add_column(sa.Column("retries", sa.Integer(), server_default="0", nullable=False))
        batch_op.add_column(sa.Column("stop", sa.String(16), nullable=True))
    _move_jobs()
    _move_run_keys()
    with op.batch_alter_table("jobs") as batch_op:
        batch_op.drop_constraint(batch_op.f("uq_jobs_tenant_idempotency_key"), type_="unique")
        batch_op.drop_column("idempotency_key")
        batch_op.drop_column("cancel_requested")
        batch_op.create_unique_constraint(batch_op.f("uq_jobs_tenant_client_id"), ["tenant", "client_id"])
        batch_op.create_index(batch_op.f("ix_jobs_tenant_status_id"), ["tenant", "status", "id"], unique=False)
    with op.batch_alter_table("runs") as batch_op:
        batch_op.drop_constraint(batch_op.f("uq_runs_tenant_idempotency_key"), type_="unique")
        batch_op.drop_column("idempotency_key")
    with op.batch_alter_table("chunks") as batch_op:
        batch_op.add_column(sa.Column("deaths", sa.Integer(), server_default="0", nullable=False))
    with op.batch_alter_table("items") as batch_op:
        batch_op.create_index(batch_op.f("ix_items_job_id_status_position"), ["job_id", "status", "position"])


def downgrade() -> None:
    with op.batch_alter_table("items") as batch_op:
        batch_op.drop_index(batch_op.f("ix_items_job_id_status_position"))
    with op.batch_alter_table("chunks") as batch_op:
        batch_op.drop_column("deaths")
    for table in ("runs", "jobs"):
        with op.batch_alter_table(table) as batch_op:
            batch_op.add_column(sa.Column("idempotency_key", sa.String(255), nullable=True))
        op.execute(
            f"UPDATE {table} SET idempotency_key = (SELECT key FROM idempotency_keys WHERE resource_id = {table}.id)"
        )
    with op.batch_alter_table("runs") as batch_op:
        batch_op.create_unique_constraint(batch_op.f("uq_runs_tenant_idempotency_key"), ["tenant", "idempotency_key"])
    with op.batch_alter_table("jobs") as batch_op:
        batch_op.add_column(sa.Column("cancel_requested", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.execute("UPDATE jobs SET cancel_requested = (stop IS NOT NULL)")
    with op.batch_alter_table("jobs") as batch_op:
        batch_op.alter_column("cancel_requested", existing_type=sa.Boolean(), server_default=None)
        batch_op.drop_index(batch_op.f("ix_jobs_tenant_status_id"))
        batch_op.drop_constraint(batch_op.f("uq_jobs_tenant_client_id"), type_="unique")
        batch_op.create_unique_constraint(batch_op.f("uq_jobs_tenant_idempotency_key"), ["tenant", "idempotency_key"])
        for name in ("method", "client_id", "priority", "deadline", "max_failures", "forgiven", "max_attempts"):
            batch_op.drop_column(name)
        for name in ("planned", "unchunked", "pruned", "retries", "stop"):
            batch_op.drop_column(name)
    for table in ("workers", "rates", "idempotency_keys", "job_labels"):
        op.drop_table(table)


def _create_tables() -> None:
    op.create_table(
        "job_labels",
        sa.Column("job_id", sa.String(length=40), nullable=False),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("value", sa.String(length=512), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_job_labels_job_id")),
        sa.PrimaryKeyConstraint("job_id", "key", name=op.f("pk_job_labels")),
    )
    op.create_index(op.f("ix_job_labels_tenant_key_value"), "job_labels", ["tenant", "key", "value"])
    op.create_table(
        "idempotency_keys",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("operation", sa.String(length=32), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("claim", sa.String(length=32), nullable=False),
        sa.Column("resource_id", sa.String(length=40), nullable=True),
        sa.Column("claimed_at", sa.Double(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "key", name=op.f("pk_idempotency_keys")),
    )
    op.create_index(op.f("ix_idempotency_keys_resource_id"), "idempotency_keys", ["resource_id"])
    op.create_index(op.f("ix_idempotency_keys_created_at"), "idempotency_keys", ["created_at"])
    op.create_table(
        "rates",
        sa.Column("method", sa.String(length=16), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("px_class", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("samples", sa.BigInteger(), nullable=False),
        sa.Column("mean_ms", sa.Double(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("method", "version", "px_class", name=op.f("pk_rates")),
    )
    op.create_table(
        "workers",
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("seen_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_workers")),
    )
    op.create_index(op.f("ix_workers_seen_at"), "workers", ["seen_at"])


def _move_jobs() -> None:
    """Fill the new columns of jobs, their labels and their keys."""
    names = ("id", "tenant", "status", "fingerprint", "idempotency_key", "cancel_requested", "created_at")
    jobs = sa.table("jobs", *(sa.column(name) for name in names), sa.column("spec", sa.JSON()))
    for name in ("method", "planned", "stop"):
        jobs.append_column(sa.column(name))
    labels = sa.table("job_labels", *(sa.column(name) for name in ("job_id", "key", "value", "tenant")))
    change = (
        sa.update(jobs)
        .where(jobs.c.id == sa.bindparam("job"))
        .values(
            method=sa.bindparam("new_method"),
            planned=sa.bindparam("new_planned", type_=sa.Boolean()),
            stop=sa.bindparam("new_stop"),
        )
    )
    for page in _pages(jobs):
        op.get_bind().execute(
            change,
            [
                {
                    "job": row.id,
                    "new_method": row.spec.get("method", "feedforward"),
                    "new_planned": row.status not in _UNPLANNED,
                    "new_stop": "cancel" if row.cancel_requested else None,
                }
                for row in page
            ],
        )
        found = [
            {"job_id": row.id, "key": key, "value": value, "tenant": row.tenant}
            for row in page
            for key, value in row.spec.get("metadata", {}).items()
            if _storable(key + value)
        ]
        if found:
            op.get_bind().execute(sa.insert(labels), found)
        _keep_keys([(row, "job") for row in page if row.idempotency_key is not None])


def _storable(text: str) -> bool:
    """Return whether a text that JSON could hold fits into a column of texts."""
    return "\0" not in text and not any("\ud800" <= char <= "\udfff" for char in text)


def _move_run_keys() -> None:
    names = ("id", "tenant", "fingerprint", "idempotency_key", "created_at")
    runs = sa.table("runs", *(sa.column(name) for name in names), sa.column("spec", sa.JSON()))
    for page in _pages(runs):
        _keep_keys(
            [(row, "fork" if row.spec.get("parent") else "run") for row in page if row.idempotency_key is not None]
        )


def _pages(table: Any) -> Iterator[list[Any]]:
    after = ""
    while True:
        query = sa.select(table).where(table.c.id > after).order_by(table.c.id).limit(_PAGE)
        page = list(op.get_bind().execute(query))
        if not page:
            return
        yield page
        after = page[-1].id


def _keep_keys(found: list[tuple[Any, str]]) -> None:
    """Keep the keys of jobs and runs; one that both have had stays that of the job."""
    names = ("tenant", "key", "operation", "fingerprint", "claim", "resource_id", "claimed_at", "created_at")
    keys = sa.table("idempotency_keys", *(sa.column(name) for name in names))
    for row, operation in found:
        values = (row.tenant, row.idempotency_key, operation, row.fingerprint, "", row.id, row.created_at)
        known = sa.select(keys.c.key).where(keys.c.tenant == row.tenant, keys.c.key == row.idempotency_key)
        if op.get_bind().execute(known).first() is None:
            values_by_name = dict(zip(names, (*values, row.created_at), strict=True))
            op.get_bind().execute(sa.insert(keys).values(values_by_name))
