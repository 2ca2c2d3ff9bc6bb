"""Labels in the order of their jobs, for pages of listings."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_KEY = ["tenant", "key", "value"]
_OLD, _NEW = op.f("ix_job_labels_tenant_key_value"), op.f("ix_job_labels_tenant_key_value_job_id")


def upgrade() -> None:
    op.drop_index(_OLD, table_name="job_labels")
    op.create_index(_NEW, "job_labels", [*_KEY, "job_id"], unique=False)


def downgrade() -> None:
    op.drop_index(_NEW, table_name="job_labels")
    op.create_index(_OLD, "job_labels", _KEY, unique=False)
