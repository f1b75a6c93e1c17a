"""Add ``deleted`` and ``lacks`` to the projections: which runs were deleted in MLflow, and what MLflow lacks."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; no run of an earlier release counts as deleted."""
    op.add_column("projections", sa.Column("deleted", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("projections", sa.Column("lacks", sa.Text(), nullable=True))


def downgrade() -> None:
    """Drop the columns. What was deleted in MLflow is then looked for there again."""
    op.drop_column("projections", "lacks")
    op.drop_column("projections", "deleted")
