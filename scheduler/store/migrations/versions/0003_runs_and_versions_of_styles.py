"""Runs and their segments, and who made which version of a style."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

#: What came with nst before this revision; all else was imported, by the one tenant that there was.
_SHIPPED = ("great_wave", "udnie")
_TENANT = "default"


def upgrade() -> None:
    with op.batch_alter_table("styles") as batch_op:
        batch_op.add_column(sa.Column("tenant", sa.String(length=64), nullable=True))
    op.create_table(
        "style_cards",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("card", sa.JSON(), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=True),
        sa.Column("run_id", sa.String(length=40), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("published_at", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["version"], ["style_versions.version"], name=op.f("fk_style_cards_version")),
        sa.PrimaryKeyConstraint("name", "version", name=op.f("pk_style_cards")),
    )
    _set_owners()
    _create_runs()
    op.create_table(
        "segments",
        sa.Column("run_id", sa.String(length=40), nullable=False),
        sa.Column("attempt", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("phase", sa.String(length=16), nullable=False),
        sa.Column("from_step", sa.Integer(), nullable=False),
        sa.Column("to_step", sa.Integer(), nullable=False),
        sa.Column("worker", sa.String(length=255), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("checkpoint_uri", sa.Text(), nullable=True),
        sa.Column("checkpoint_sha256", sa.String(length=64), nullable=True),
        sa.Column("losses", sa.Text(), nullable=True),
        sa.Column("finished_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_segments_run_id")),
        sa.PrimaryKeyConstraint("run_id", "attempt", name=op.f("pk_segments")),
    )


def downgrade() -> None:
    op.drop_table("segments")
    with op.batch_alter_table("runs") as batch_op:
        batch_op.drop_index(batch_op.f("ix_runs_tenant_id"))
        batch_op.drop_index(batch_op.f("ix_runs_status_id"))
    op.drop_table("runs")
    op.drop_table("style_cards")
    with op.batch_alter_table("styles") as batch_op:
        batch_op.drop_column("tenant")


def _set_owners() -> None:
    """Give every style its owner, and its present version a card of its own."""
    names = ("name", "version", "card", "tenant", "created_at")
    styles = sa.table("styles", *(sa.column(name) for name in names))
    cards = sa.table("style_cards", *(sa.column(name) for name in (*names, "published_at")))
    op.execute(styles.update().where(styles.c.name.not_in(_SHIPPED)).values(tenant=_TENANT))
    present = sa.select(*(styles.c[name] for name in names), styles.c.created_at)
    op.execute(cards.insert().from_select([*names, "published_at"], present))


def _create_runs() -> None:
    op.create_table(
        "runs",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("status", sa.String(length=24), nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("steps", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("live", sa.String(length=16), nullable=False),
        sa.Column("phase", sa.String(length=16), nullable=True),
        sa.Column("claimed_at", sa.Double(), nullable=True),
        sa.Column("lease_until", sa.Double(), nullable=True),
        sa.Column("not_before", sa.Double(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("worker", sa.String(length=255), nullable=True),
        sa.Column("progress", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("photos", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("config", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("checkpoint_uri", sa.Text(), nullable=True),
        sa.Column("checkpoint_sha256", sa.String(length=64), nullable=True),
        sa.Column("result", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("version", sa.String(length=64), nullable=True),
        sa.Column("stop", sa.String(length=16), nullable=False),
        sa.Column("error_code", sa.String(length=64), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("idempotency_key", sa.String(length=255), nullable=True),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=True),
        sa.Column("finished_at", sa.Double(), nullable=True),
        sa.Column("train_seconds", sa.Double(), nullable=False),
        sa.Column("untidy", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_runs")),
        sa.UniqueConstraint("tenant", "idempotency_key", name=op.f("uq_runs_tenant_idempotency_key")),
    )
    with op.batch_alter_table("runs") as batch_op:
        batch_op.create_index(batch_op.f("ix_runs_status_id"), ["status", "id"], unique=False)
        batch_op.create_index(batch_op.f("ix_runs_tenant_id"), ["tenant", "id"], unique=False)
