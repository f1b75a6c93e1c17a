"""Add the tags of sweeps, and whether a sweep is archived."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table, and add the column and its index. No sweep has tags or is archived yet."""
    op.add_column("sweeps", sa.Column("archived", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.create_index("ix_sweeps_archived", "sweeps", ["archived", "created_at", "id"])
    op.create_table(
        "sweep_tags",
        sa.Column("sweep_id", sa.String(40), nullable=False),
        sa.Column("tag", sa.String(40), nullable=False),
        sa.ForeignKeyConstraint(["sweep_id"], ["sweeps.id"], name="fk_sweep_tags_sweep_id"),
        sa.PrimaryKeyConstraint("sweep_id", "tag", name="pk_sweep_tags"),
    )
    op.create_index("ix_sweep_tags_tag", "sweep_tags", ["tag", "sweep_id"])


def downgrade() -> None:
    """Drop them. The documents of sweeps keep the tags that they have."""
    op.drop_index("ix_sweep_tags_tag", "sweep_tags")
    op.drop_table("sweep_tags")
    op.drop_index("ix_sweeps_archived", "sweeps")
    op.drop_column("sweeps", "archived")
