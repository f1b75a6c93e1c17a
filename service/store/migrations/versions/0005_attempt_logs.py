"""Add ``log`` to the attempts, and ``preemptions`` to the trials, which are counted apart from failures."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; no trial of an earlier release counts as preempted."""
    op.add_column("attempts", sa.Column("log", sa.Text(), nullable=True))
    op.add_column("trials", sa.Column("preemptions", sa.Integer(), nullable=False, server_default="0"))


def downgrade() -> None:
    """Remove the columns and what is in them."""
    op.drop_column("trials", "preemptions")
    op.drop_column("attempts", "log")
