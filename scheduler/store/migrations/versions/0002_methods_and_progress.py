"""The method of chunks, and the progress of items."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("chunks") as batch_op:
        batch_op.add_column(sa.Column("method", sa.String(length=16), server_default="feedforward", nullable=False))
    with op.batch_alter_table("items") as batch_op:
        batch_op.add_column(sa.Column("progress", sa.JSON(none_as_null=True), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("items") as batch_op:
        batch_op.drop_column("progress")
    with op.batch_alter_table("chunks") as batch_op:
        batch_op.drop_column("method")
