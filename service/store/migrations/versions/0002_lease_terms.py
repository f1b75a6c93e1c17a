"""Rename the leases' ``epoch`` to ``term``, the usual word in consensus protocols."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Rename the columns."""
    op.execute("ALTER TABLE leases RENAME COLUMN epoch TO term")
    op.execute("ALTER TABLE packs RENAME COLUMN epoch TO term")
