"""Add what runners print, and which of a pack's lines belong to an attempt."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table and add the columns. Of packs of earlier releases there are no lines."""
    op.create_table(
        "pack_lines",
        sa.Column("pack_id", sa.String(48), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("trial_id", sa.String(48), nullable=True),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("stream", sa.String(10), nullable=False),
        sa.Column("level", sa.String(20), nullable=True),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("left_out", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["pack_id"], ["packs.id"], name=op.f("fk_pack_lines_pack_id")),
        sa.PrimaryKeyConstraint("pack_id", "seq", name=op.f("pk_pack_lines")),
    )
    op.add_column("attempts", sa.Column("line_from", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("attempts", sa.Column("line_to", sa.Integer(), nullable=True))


def downgrade() -> None:
    """Drop them."""
    op.drop_column("attempts", "line_to")
    op.drop_column("attempts", "line_from")
    op.drop_table("pack_lines")
