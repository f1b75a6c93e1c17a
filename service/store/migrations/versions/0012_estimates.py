"""Add what was measured of packs, from which durations are estimated, and when a sweep is expected to end."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table and add the column."""
    op.create_table(
        "cost_samples",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("source", sa.String(20), nullable=False),
        sa.Column("shape", sa.String(32), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("device", sa.String(120), nullable=False),
        sa.Column("cpus", sa.Double(), nullable=False),
        sa.Column("gpus", sa.Double(), nullable=False),
        sa.Column("trials", sa.Integer(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("work", sa.Double(), nullable=False),
        sa.Column("steps", sa.Integer(), nullable=False),
        sa.Column("step_seconds", sa.Double(), nullable=False),
        sa.Column("evaluation_seconds", sa.Double(), nullable=True),
        sa.Column("checkpoint_seconds", sa.Double(), nullable=True),
        sa.Column("start_seconds", sa.Double(), nullable=True),
        sa.Column("peak_bytes", sa.BigInteger(), nullable=True),
        sa.Column("gpu_peak_bytes", sa.BigInteger(), nullable=True),
        sa.Column("at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cost_samples")),
    )
    op.create_index(op.f("ix_cost_samples_shape"), "cost_samples", ["shape", "size", "source"])
    op.add_column("sweeps", sa.Column("eta_at", sa.Double(), nullable=True))


def downgrade() -> None:
    """Drop them."""
    op.drop_column("sweeps", "eta_at")
    op.drop_index(op.f("ix_cost_samples_shape"), table_name="cost_samples")
    op.drop_table("cost_samples")
