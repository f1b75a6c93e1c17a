"""Rename ``epoch`` to ``term`` in the tables of leases and packs: it is the usual word in consensus protocols."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Rename the column ``epoch`` of ``leases`` and of ``packs`` to ``term``."""
    op.execute("ALTER TABLE leases RENAME COLUMN epoch TO term")
    op.execute("ALTER TABLE packs RENAME COLUMN epoch TO term")


def downgrade() -> None:
    """Rename ``term`` back to ``epoch``."""
    op.execute("ALTER TABLE leases RENAME COLUMN term TO epoch")
    op.execute("ALTER TABLE packs RENAME COLUMN term TO epoch")
