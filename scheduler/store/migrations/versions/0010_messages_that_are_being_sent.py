"""Messages that are being sent are found by their leases."""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_INDEX = op.f("ix_deliveries_status_lease_until")


def upgrade() -> None:
    op.create_index(_INDEX, "deliveries", ["status", "lease_until"], unique=False)


def downgrade() -> None:
    op.drop_index(_INDEX, table_name="deliveries")
