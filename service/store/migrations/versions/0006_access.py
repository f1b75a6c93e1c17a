"""Add owners, tokens, sessions of the page and the audit log; sweeps and idempotency keys get an owner."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables. What is stored already belongs to the owner ``local``."""
    op.create_table(
        "owners",
        sa.Column("name", sa.String(60), nullable=False),
        sa.Column("requests_per_second", sa.Double(), nullable=True),
        sa.Column("running_trials", sa.Integer(), nullable=True),
        sa.Column("open_sweeps", sa.Integer(), nullable=True),
        sa.Column("open_trials", sa.Integer(), nullable=True),
        sa.Column("stored_bytes", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_owners"),
    )
    op.create_table(
        "tokens",
        sa.Column("id", sa.String(20), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("owner", sa.String(60), nullable=False),
        sa.Column("scope", sa.String(10), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=True),
        sa.Column("revoked_at", sa.Double(), nullable=True),
        sa.Column("used_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_tokens"),
        sa.ForeignKeyConstraint(["owner"], ["owners.name"], name="fk_tokens_owner"),
    )
    op.create_index("ix_tokens_digest", "tokens", ["digest"], unique=True)
    op.create_index("ix_tokens_owner", "tokens", ["owner"])
    op.create_table(
        "sessions",
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("token_id", sa.String(20), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_sessions"),
        sa.ForeignKeyConstraint(["token_id"], ["tokens.id"], name="fk_sessions_token_id"),
    )
    op.create_index("ix_sessions_token_id", "sessions", ["token_id"])
    op.create_index("ix_sessions_expires_at", "sessions", ["expires_at"])
    op.create_table(
        "audit",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("owner", sa.String(60), nullable=True),
        sa.Column("token_id", sa.String(20), nullable=True),
        sa.Column("action", sa.String(200), nullable=False),
        sa.Column("subject", sa.String(48), nullable=True),
        sa.Column("client", sa.String(64), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("reason", sa.String(200), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
    )
    op.create_index("ix_audit_at", "audit", ["at"])
    op.add_column("sweeps", sa.Column("owner", sa.String(60), nullable=False, server_default="local"))
    op.create_index("ix_sweeps_owner", "sweeps", ["owner", "created_at", "id"])
    with op.batch_alter_table("idempotency_keys") as batch:
        batch.add_column(sa.Column("owner", sa.String(60), nullable=False, server_default="local"))
        batch.drop_constraint("pk_idempotency_keys", type_="primary")
        batch.create_primary_key("pk_idempotency_keys", ["owner", "key"])


def downgrade() -> None:
    """Remove the tables and columns. Of a key that several owners have used, only the first use is kept."""
    op.execute(
        "DELETE FROM idempotency_keys WHERE EXISTS (SELECT 1 FROM idempotency_keys AS other WHERE"
        " other.key = idempotency_keys.key AND (other.created_at < idempotency_keys.created_at OR"
        " (other.created_at = idempotency_keys.created_at AND other.owner < idempotency_keys.owner)))"
    )
    with op.batch_alter_table("idempotency_keys") as batch:
        batch.drop_constraint("pk_idempotency_keys", type_="primary")
        batch.drop_column("owner")
        batch.create_primary_key("pk_idempotency_keys", ["key"])
    op.drop_index("ix_sweeps_owner", "sweeps")
    op.drop_column("sweeps", "owner")  # not in batch mode, which on SQLite would drop the rows that refer to sweeps
    for table in ("audit", "sessions", "tokens", "owners"):
        op.drop_table(table)
