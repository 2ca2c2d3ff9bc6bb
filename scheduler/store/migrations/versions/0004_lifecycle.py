"""Jobs' lifecycle."""

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Change nothing here."""


def downgrade() -> None:
    """Change nothing here."""
