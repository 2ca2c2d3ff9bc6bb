"""The masks of regions that photos have of their own."""

import sqlalchemy as sa
from alembic import op

revision = "0.1.2"
down_revision = "0.1.1"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("items", sa.Column("regions", sa.JSON(none_as_null=True), nullable=True))


def downgrade() -> None:
    op.drop_column("items", "regions")
