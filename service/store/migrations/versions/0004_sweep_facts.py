"""Store with each sweep what its views need, and index what MLflow lacks, so that no view reads a whole document.

The facts of sweeps that are there already are read from their documents as plain JSON, by the rules of the release that
stored them: no class of the present version takes part, which might refuse them.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

BATCH = 200
"""How many documents are read at a time."""
CLASSIFYING = ("digits", "mnist", "images", "ucr")
"""The tasks that always had a metric ``accuracy``; ``own_data`` had it if its kind was a classification."""
MORE_IS_BETTER = ("val/accuracy", "val/recall")


def upgrade() -> None:
    """Add the columns, and fill them for the sweeps that are there."""
    op.add_column("sweeps", sa.Column("metric", sa.String(80), nullable=False, server_default="val/loss"))
    op.add_column("sweeps", sa.Column("direction", sa.String(8), nullable=False, server_default="minimize"))
    op.add_column("sweeps", sa.Column("planned_steps", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("sweeps", sa.Column("steps_vary", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("sweeps", sa.Column("advice", sa.JSON(), nullable=True))
    op.create_index("ix_projections_lacks", "projections", ["subject_id"], **_only("lacks IS NOT NULL"))
    _fill(op.get_bind())


def downgrade() -> None:
    """Remove the columns and the index; everything in them follows from the documents."""
    op.drop_index("ix_projections_lacks", "projections")
    for name in ("advice", "steps_vary", "planned_steps", "direction", "metric"):
        op.drop_column("sweeps", name)


def _fill(connection: sa.Connection) -> None:
    sweeps = sa.table(
        "sweeps",
        sa.column("id", sa.String),
        sa.column("spec", sa.JSON),
        sa.column("trial_count", sa.Integer),
        sa.column("metric", sa.String),
        sa.column("direction", sa.String),
        sa.column("planned_steps", sa.BigInteger),
        sa.column("steps_vary", sa.Boolean),
    )
    last = ""
    while True:
        query = sa.select(sweeps.c.id, sweeps.c.spec, sweeps.c.trial_count).where(sweeps.c.id > last)
        rows = connection.execute(query.order_by(sweeps.c.id).limit(BATCH)).all()
        if not rows:
            return
        for id, spec, trials in rows:
            facts = facts_of(spec if isinstance(spec, dict) else {}, trials)
            connection.execute(sweeps.update().where(sweeps.c.id == id).values(**facts))
            last = id


def facts_of(spec: dict[str, Any], trials: int) -> dict[str, Any]:
    """Return the values of the new columns for a stored document; a part that it lacks counts as empty.

    ``planned_steps`` of a sweep over steps is an estimate, the number of trials times the mean of the steps: it shows
    the progress of a sweep that is open during the migration, and of no other.
    """
    objective, task = _part(spec, "objective"), _part(spec, "task")
    steps, swept = _part(spec, "training").get("steps"), _part(spec, "space").get("training.steps")
    accurate = task.get("name") in CLASSIFYING
    if task.get("name") == "own_data":
        accurate = task.get("kind", "classification") == "classification"
    metric = objective.get("metric") or ("val/accuracy" if accurate else "val/loss")
    direction = objective.get("direction") or ("maximize" if metric in MORE_IS_BETTER else "minimize")
    each = _mean(swept) if swept is not None else float(steps) if isinstance(steps, int) else 0.0
    return {
        "metric": str(metric)[:80],
        "direction": str(direction)[:8],
        "planned_steps": round(trials * each),
        "steps_vary": swept is not None,
    }


def _part(spec: dict[str, Any], name: str) -> dict[str, Any]:
    found = spec.get(name)
    return found if isinstance(found, dict) else {}


def _mean(dimension: Any) -> float:
    """Return the mean of a dimension's numbers, those of a range being its ends; 0 if it has none."""
    given = dimension if isinstance(dimension, dict) else {"values": dimension}
    values = given.get("values") or [given.get("low"), given.get("high")]
    numbers = [value for value in values if isinstance(value, int | float)] if isinstance(values, list) else []
    return sum(numbers) / len(numbers) if numbers else 0.0


def _only(condition: str) -> dict[str, Any]:
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}
