"""A sweep as a study of Optuna in an SQLite file, which ``optuna.load_study`` and optuna-dashboard open.

Optuna makes the file and the study. The trials are written with plain SQL into its tables: its own call for a trial
makes several statements for each value, which takes ten minutes for 20,000 trials. A test reads all of it with Optuna.
"""

from __future__ import annotations

import json
import math
import sqlite3
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.report.objective_values import objective_values
from service.report.record import SEED, SweepRecord, TrialRow
from service.report.thinning import thin
from workers.spec.pruning_rules import Curve
from workers.spec.search_space import Range, Values

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

MAX_TRIALS = 20_000
"""The most trials of a file."""
MAX_VALUES = 400_000
"""About the most values between the start and the end of trials (``intermediate_values``) of a file."""
MAX_VALUES_OF_TRIAL = 200

_STATES = {"succeeded": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL", "cancelled": "FAIL", "running": "RUNNING"}


def points_per_trial(trials: int) -> int:
    """Return how many points of each trial's curve a file of a sweep with this many trials has, at most."""
    return max(10, min(MAX_VALUES_OF_TRIAL, MAX_VALUES // max(1, trials)))


def write_optuna_study(record: SweepRecord, curves: Iterable[tuple[int, Curve]], path: Path) -> str:
    """Write the sweep as a study of Optuna and return the study's name.

    A trial that has a result counts as complete, also one that was pruned, because it has a value; so the best trial is
    ours. A trial that was pruned without a result is PRUNED, one that failed or was cancelled is FAIL. With further
    objectives, a trial that lacks the value of one of them is FAIL too, and the reason is among its attributes. Optuna
    keeps no intermediate values for several objectives, so there are none then.

    Args:
        record: The sweep, with at most ``MAX_TRIALS`` trials.
        curves: The objective over the steps, in order of step, for trials by number; each is thinned.
        path: The file, which must not exist.

    Raises:
        ValueError: The sweep has more than ``MAX_TRIALS`` trials.
    """
    if len(record.rows) > MAX_TRIALS:
        raise ValueError(
            f"the sweep has {len(record.rows):,} trials; a study of Optuna is made of at most {MAX_TRIALS:,}"
        )
    name = f"{record.name} ({record.sweep_id})"
    study_id = _make_study(record, name, path)
    values = {row.number: found for row, found in objective_values(record)}
    ids = {row.number: place for place, row in enumerate(record.rows, 1)}
    distributions = {field: distribution_of(record, field) for field in record.paths}
    with closing(sqlite3.connect(path)) as connection, connection:
        insert = connection.executemany
        insert(
            "INSERT INTO trials (trial_id, number, study_id, state, datetime_start, datetime_complete) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            ((ids[row.number], place, study_id, *_moments(row, values)) for place, row in enumerate(record.rows)),
        )
        insert(
            "INSERT INTO trial_values (trial_id, objective, value, value_type) VALUES (?, ?, ?, 'FINITE')",
            ((ids[n], axis, value) for n, found in values.items() for axis, value in enumerate(found)),
        )
        insert(
            "INSERT INTO trial_params (trial_id, param_name, param_value, distribution_json) VALUES (?, ?, ?, ?)",
            _params(record, ids, distributions),
        )
        insert(
            "INSERT INTO trial_user_attributes (trial_id, key, value_json) VALUES (?, ?, ?)",
            (
                (ids[row.number], key, json.dumps(value))
                for row in record.rows
                for key, value in _attributes(record, row).items()
            ),
        )
        if len(record.objectives) == 1:
            insert(
                "INSERT INTO trial_intermediate_values (trial_id, step, intermediate_value, intermediate_value_type) "
                "VALUES (?, ?, ?, 'FINITE')",
                _intermediate(curves, ids, points_per_trial(len(record.rows))),
            )
    return name


def _make_study(record: SweepRecord, name: str, path: Path) -> int:
    """Make the file with an empty study, and return the study's id."""
    import optuna

    with warnings.catch_warnings(action="ignore"):
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
        try:
            directions = [one.direction for one in record.objectives]
            study = optuna.create_study(storage=storage, study_name=name, directions=directions)
            study.set_metric_names([one.metric for one in record.objectives])
            study.set_user_attr("sweep_id", record.sweep_id)
            study.set_user_attr("state", record.state)
            return int(storage.get_study_id_from_name(name))
        finally:
            storage.remove_session()
            storage.engine.dispose()


def distribution_of(record: SweepRecord, path: str) -> BaseDistribution:
    """Return the distribution of a swept field: that of the document, or a choice among the values that trials have."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    dimension = record.spec.space.get(path) if record.spec else None
    found = list({repr(row.params[path]): row.params[path] for row in record.rows if path in row.params}.values())
    if isinstance(dimension, Range):
        low, high = dimension.low, dimension.high
        inside = all(isinstance(v, int | float) and not isinstance(v, bool) and low <= v <= high for v in found)
        if inside and dimension.is_integer and all(isinstance(v, int) for v in found):
            # Optuna's steps start at the lower end, as ours do, and end at the last value
            step = int(dimension.step or 1)
            last = int(low) + (int(high) - int(low)) // step * step
            return IntDistribution(int(low), last, log=dimension.log, step=step)
        if inside:
            return FloatDistribution(float(low), float(high), log=dimension.log)
    listed = list(dimension.values) if isinstance(dimension, Values) else []
    known = list({repr(value): value for value in [*listed, *found]}.values())
    return CategoricalDistribution(known or [None])


def _moments(row: TrialRow, values: Mapping[int, Any]) -> tuple[str, str | None, str | None]:
    """Return a trial's state in Optuna's words, and its start and end in UTC."""
    state = _STATES.get(row.state, "WAITING")
    if row.has_ended and state != "FAIL":
        state = "COMPLETE" if row.number in values else ("PRUNED" if row.state == "pruned" else "FAIL")
    start = row.started_at if row.started_at is not None else row.ended_at
    return state, None if start is None else _utc(start), None if row.ended_at is None else _utc(row.ended_at)


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


def _params(
    record: SweepRecord, ids: Mapping[int, int], distributions: Mapping[str, BaseDistribution]
) -> Iterator[tuple[int, str, float, str]]:
    from optuna.distributions import distribution_to_json

    written = {path: distribution_to_json(distribution) for path, distribution in distributions.items()}
    for row in record.rows:
        for path, value in row.params.items():
            yield ids[row.number], path, float(distributions[path].to_internal_repr(value)), written[path]


def _attributes(record: SweepRecord, row: TrialRow) -> dict[str, Any]:
    base = f"/v1/trials/{row.trial_id}"
    found = {
        "trial_id": row.trial_id,
        "state": row.state,
        "best_step": row.best_step,
        "seed": row.params.get(SEED, record.spec.training.seed if record.spec else None),
        "links": {"self": base, "metrics": f"{base}/metrics", "checkpoint": f"{base}/checkpoint"},
    }
    if row.reason:
        found["reason"] = row.reason
    return found


def _intermediate(
    curves: Iterable[tuple[int, Curve]], ids: Mapping[int, int], most: int
) -> Iterator[tuple[int, int, float]]:
    for number, curve in curves:
        if number in ids:
            finite = [(step, value) for step, value in curve if math.isfinite(value)]
            yield from ((ids[number], step, value) for step, value in thin(finite, most))
