"""Names of styles belong to tenants."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_KEYS = {"styles": ("name",), "style_cards": ("name", "version")}


def upgrade() -> None:
    for name, key in _KEYS.items():
        table = sa.table(name, sa.column("tenant"))
        op.execute(table.update().where(table.c.tenant.is_(None)).values(tenant=""))
        with op.batch_alter_table(name) as batch_op:
            batch_op.alter_column("tenant", existing_type=sa.String(length=64), nullable=False)
            batch_op.drop_constraint(batch_op.f(f"pk_{name}"), type_="primary")
            batch_op.create_primary_key(batch_op.f(f"pk_{name}"), ["tenant", *key])


def downgrade() -> None:
    for name, key in _KEYS.items():
        table = sa.table(name, sa.column("tenant"), *(sa.column(column) for column in key))
        # Of one name's several owners an earlier revision knows one: the first, which is nst itself where it is one.
        first = table.alias()
        op.execute(
            table.delete().where(
                sa.exists().where(
                    *(first.c[column] == table.c[column] for column in key), first.c.tenant < table.c.tenant
                )
            )
        )
        with op.batch_alter_table(name) as batch_op:
            batch_op.drop_constraint(batch_op.f(f"pk_{name}"), type_="primary")
            batch_op.create_primary_key(batch_op.f(f"pk_{name}"), list(key))
            batch_op.alter_column("tenant", existing_type=sa.String(length=64), nullable=True)
        op.execute(table.update().where(table.c.tenant == "").values(tenant=None))
