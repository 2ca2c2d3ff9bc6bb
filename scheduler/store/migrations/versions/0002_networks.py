"""The network of each version of a style."""

import sqlalchemy as sa
from alembic import op

revision = "0.1.1"
down_revision = "0.1.0"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("styles", "style_versions"):
        op.add_column(table, sa.Column("network", sa.JSON(none_as_null=True), nullable=True))


def downgrade() -> None:
    for table in ("styles", "style_versions"):
        op.drop_column(table, "network")
