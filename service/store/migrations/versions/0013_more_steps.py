"""Add how many training steps a user has given a trial after its end."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.add_column("trials", sa.Column("added_steps", sa.Integer(), nullable=False, server_default="0"))


def downgrade() -> None:
    """Drop it. Trials that were given more steps keep their reports, and cannot go on from their checkpoints."""
    op.drop_column("trials", "added_steps")
