"""Deletion of jobs with their results, of runs and of uploads."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", _flag("with_results"))
    op.add_column("runs", _flag("emptied"))
    op.add_column("runs", _flag("pruned"))
    op.create_index(op.f("ix_deliveries_done_at"), "deliveries", ["done_at"], unique=False)
    op.create_table(
        "uploads",
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("used_at", sa.Double(), nullable=False),
        sa.Column("pruned", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.PrimaryKeyConstraint("tenant", "id", name=op.f("pk_uploads")),
    )
    columns = ["tenant", "created_at", "id"]
    op.create_index(op.f("ix_uploads_tenant_created_at_id"), "uploads", columns, unique=False)
    op.create_index(op.f("ix_uploads_pruned_used_at"), "uploads", ["pruned", "used_at"], unique=False)


def downgrade() -> None:
    op.drop_table("uploads")
    op.drop_index(op.f("ix_deliveries_done_at"), table_name="deliveries")
    with op.batch_alter_table("runs") as batch:
        batch.drop_column("pruned")
        batch.drop_column("emptied")
    with op.batch_alter_table("jobs") as batch:
        batch.drop_column("with_results")


def _flag(name: str) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean(), nullable=False, server_default=sa.false())
