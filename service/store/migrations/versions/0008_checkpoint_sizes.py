"""Add the sizes of checkpoints, when they were removed, and how many bytes a sweep needs; order trials by their end."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; the sizes of the checkpoints that there are become known when the controller looks at them."""
    op.add_column("checkpoints", sa.Column("size", sa.BigInteger(), nullable=True))
    op.add_column("checkpoints", sa.Column("removed_at", sa.Double(), nullable=True))
    op.create_index("ix_trials_ended", "trials", ["ended_at", "id"])
    op.add_column("sweeps", sa.Column("checkpoint_bytes", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    """Drop the columns."""
    op.drop_column("sweeps", "checkpoint_bytes")
    op.drop_index("ix_trials_ended", table_name="trials")
    op.drop_column("checkpoints", "removed_at")
    op.drop_column("checkpoints", "size")
