"""Add what the queue goes by: priority and parallel trials of sweeps, places of packs, preemption, limits of owners."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; a sweep of an earlier release has priority 0, and runs as many trials as fit."""
    op.add_column("sweeps", sa.Column("priority", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("sweeps", sa.Column("max_parallel", sa.Integer(), nullable=True))
    op.add_column("sweeps", sa.Column("queued_at", sa.Double(), nullable=True))
    op.add_column("packs", sa.Column("memory", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("packs", sa.Column("node", sa.String(64), nullable=True))
    op.add_column("packs", sa.Column("preempted", sa.Text(), nullable=True))
    op.add_column("owners", sa.Column("weight", sa.Double(), nullable=True))
    op.add_column("owners", sa.Column("running_cpus", sa.Double(), nullable=True))
    op.add_column("owners", sa.Column("running_gpus", sa.Double(), nullable=True))
    op.add_column("owners", sa.Column("highest_priority", sa.Integer(), nullable=True))


def downgrade() -> None:
    """Drop them. The notes about the queue, which an older release would take for a part of the service, go too."""
    op.execute("DELETE FROM components WHERE name = 'queue'")
    for name in ("highest_priority", "running_gpus", "running_cpus", "weight"):
        op.drop_column("owners", name)
    for name in ("preempted", "node", "memory"):
        op.drop_column("packs", name)
    for name in ("queued_at", "max_parallel", "priority"):
        op.drop_column("sweeps", name)
