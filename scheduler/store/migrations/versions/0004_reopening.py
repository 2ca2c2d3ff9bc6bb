"""Retries of large jobs, which reopen their items in several transactions."""

import sqlalchemy as sa
from alembic import op

revision = "0.1.3"
down_revision = "0.1.2"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("reopening", sa.JSON(none_as_null=True), nullable=True))


def downgrade() -> None:
    op.drop_column("jobs", "reopening")
