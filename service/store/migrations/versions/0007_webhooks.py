"""Add the webhooks and what they have yet to be told."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables. Nothing that ended before is told to anybody."""
    op.create_table(
        "webhooks",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("events", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_webhooks"),
    )
    op.create_table(
        "webhook_messages",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("webhook", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("sweep_id", sa.String(40), nullable=False),
        sa.Column("trial_id", sa.String(48), nullable=True),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("gave_up", sa.Boolean(), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["sweep_id"], ["sweeps.id"], name="fk_webhook_messages_sweep_id"),
        sa.PrimaryKeyConstraint("id", name="pk_webhook_messages"),
    )
    op.create_index("ix_webhook_messages_next", "webhook_messages", ["webhook", "gave_up", "tries", "at"])


def downgrade() -> None:
    """Drop the tables, and with them what was not told yet."""
    op.drop_index("ix_webhook_messages_next", "webhook_messages")
    op.drop_table("webhook_messages")
    op.drop_table("webhooks")
