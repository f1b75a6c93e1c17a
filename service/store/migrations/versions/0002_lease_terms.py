"""Call the number that grows with each new leader a term, as other consensus systems do"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE leases RENAME COLUMN epoch TO term")
    op.execute("ALTER TABLE packs RENAME COLUMN epoch TO term")
