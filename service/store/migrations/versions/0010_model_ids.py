"""Add ``model_id`` to the projections: the logged model of a trial's best checkpoint in MLflow."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column. Models that an earlier release logged are found by their run, under the name ``model``."""
    op.add_column("projections", sa.Column("model_id", sa.String(64), nullable=True))


def downgrade() -> None:
    """Drop the column. Models stay in MLflow, under their own names."""
    op.drop_column("projections", "model_id")
