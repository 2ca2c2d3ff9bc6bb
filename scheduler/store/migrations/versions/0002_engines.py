"""Which engine made each item, and times of items by the precision that their job asks for."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("items", sa.Column("engine", sa.String(length=32), nullable=True))
    op.add_column("items", sa.Column("precision", sa.String(length=8), nullable=True))
    # The times are those of another engine, and are measured again within minutes.
    op.drop_table("rates")
    _create_rates(sa.Column("precision", sa.String(length=8), nullable=False))


def downgrade() -> None:
    op.drop_table("rates")
    _create_rates()
    op.drop_column("items", "precision")
    op.drop_column("items", "engine")


def _create_rates(*more: sa.Column[str]) -> None:
    op.create_table(
        "rates",
        sa.Column("method", sa.String(length=16), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("px_class", sa.Integer(), autoincrement=False, nullable=False),
        *more,
        sa.Column("samples", sa.BigInteger(), nullable=False),
        sa.Column("mean_ms", sa.Double(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint(
            "method", "version", "px_class", *(column.name for column in more), name=op.f("pk_rates")
        ),
    )
