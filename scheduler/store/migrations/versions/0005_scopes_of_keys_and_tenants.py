"""Names, scopes and lives of API keys, and what tenants may do."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

#: What every key could do before this revision.
_SCOPES = ("jobs:read", "jobs:write", "styles:read", "styles:train", "keys:write", "admin")


def upgrade() -> None:
    with op.batch_alter_table("api_keys") as batch_op:
        batch_op.add_column(sa.Column("name", sa.String(length=100), nullable=False, server_default=""))
        batch_op.add_column(sa.Column("scopes", sa.JSON(), nullable=True))
        batch_op.add_column(sa.Column("expires_at", sa.Double(), nullable=True))
        batch_op.add_column(sa.Column("revoked_at", sa.Double(), nullable=True))
        batch_op.add_column(sa.Column("last_used_at", sa.Double(), nullable=True))
        batch_op.add_column(sa.Column("previous_sha256", sa.String(length=64), nullable=True))
        batch_op.add_column(sa.Column("previous_until", sa.Double(), nullable=True))
        batch_op.create_index(
            batch_op.f("ix_api_keys_tenant_created_at_prefix"), ["tenant", "created_at", "prefix"], unique=False
        )
    keys = sa.table("api_keys", sa.column("scopes", sa.JSON()))
    op.execute(keys.update().values(scopes=list(_SCOPES)))
    with op.batch_alter_table("api_keys") as batch_op:
        batch_op.alter_column("scopes", existing_type=sa.JSON(), nullable=False)
    op.create_table(
        "tenants",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("weight", sa.Double(), nullable=False),
        sa.Column("read_places", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("write_places", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("limits", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tenants")),
    )


def downgrade() -> None:
    op.drop_table("tenants")
    # Of what a key may not do, and of its end, earlier revisions know nothing: such keys would come to life again.
    columns = ("prefix", "revoked_at", "expires_at")
    keys = sa.table("api_keys", *(sa.column(name) for name in columns), sa.column("scopes", sa.JSON()))
    for key in op.get_bind().execute(sa.select(keys)).all():
        if key.revoked_at is not None or key.expires_at is not None or set(key.scopes) != set(_SCOPES):
            op.execute(keys.delete().where(keys.c.prefix == key.prefix))
    with op.batch_alter_table("api_keys") as batch_op:
        batch_op.drop_index(batch_op.f("ix_api_keys_tenant_created_at_prefix"))
        for name in (
            *("previous_until", "previous_sha256", "last_used_at", "revoked_at", "expires_at"),
            *("scopes", "name"),
        ):
            batch_op.drop_column(name)
