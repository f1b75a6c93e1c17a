"""Add the sweeps that were deleted, and how many attempts of a trial no longer count because it is run again."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table and add the column."""
    op.add_column("trials", sa.Column("attempts_before", sa.Integer(), nullable=False, server_default="0"))
    op.create_table(
        "removed_sweeps",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("owner", sa.String(60), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("folders", sa.JSON(), nullable=False),
        sa.Column("experiments", sa.JSON(), nullable=False),
        sa.Column("rows_at", sa.Double(), nullable=True),
        sa.Column("files_at", sa.Double(), nullable=True),
        sa.Column("runs_at", sa.Double(), nullable=True),
        sa.Column("done_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_removed_sweeps")),
    )
    op.create_index(op.f("ix_removed_sweeps_done_at"), "removed_sweeps", ["done_at"])


def downgrade() -> None:
    """Drop them. Sweeps whose deletion is under way become cancelled ones, which can be deleted again."""
    op.execute("UPDATE trials SET state = 'cancelled' WHERE state = 'deleting'")
    op.execute("UPDATE sweeps SET state = 'cancelled' WHERE state = 'deleting'")
    op.drop_index(op.f("ix_removed_sweeps_done_at"), table_name="removed_sweeps")
    op.drop_table("removed_sweeps")
    op.drop_column("trials", "attempts_before")
