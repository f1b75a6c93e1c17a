"""Which MLflow runs one sweep has, a parent and a child for each trial: found in the database or MLflow, or created."""

from __future__ import annotations

from typing import Any

from service.store import projections
from service.store.database import Database
from service.store.tables import Sweep, Trial
from service.tracking.mlflow_runs import SWEEP_TAG, TRIAL_TAG, Runs
from workers.spec.expand import objective
from workers.spec.parameter_count import count_parameters
from workers.spec.sweep import SweepSpec
from workers.spec.trial import TrialSpec

SOURCE_TAGS = {"mlflow.source.name": "spectral", "mlflow.source.type": "JOB"}


class SweepRuns:
    """Finds or creates the MLflow runs of one sweep: a parent for the sweep and a child for each trial.

    It must be used by one thread only.

    Args:
        database: The database, in which the ids of the runs are kept.
        term: The leadership term, checked with every write.
        runs: The service's runs in MLflow.
        sweep: The sweep's row.
        spec: The sweep's document.
    """

    def __init__(self, database: Database, term: int, runs: Runs, sweep: Sweep, spec: SweepSpec) -> None:
        self._database, self._term, self._runs, self._sweep, self._spec = database, term, runs, sweep, spec
        with database.read() as session:
            self._known = {subject: row.run_id for subject, row in projections.of_sweep(session, sweep.id).items()}
        self._tagged: dict[str, str] | None = None

    def parent(self) -> str:
        """Return the id of the sweep's run. It is created if there is none."""
        tags = {
            SWEEP_TAG: self._sweep.id,
            "spectral.kind": "sweep",
            "spectral.task": self._spec.task.name,
            **SOURCE_TAGS,
        }
        goal = objective(self._spec)
        params = {
            "sampler": self._spec.search.sampler,
            "seed": self._spec.search.seed,
            "trials": self._sweep.trial_count,
            "objective": goal.metric,
            "direction": goal.direction,
            "early_stopping": self._spec.early_stopping.kind,
        }
        for path, dimension in self._spec.space.items():
            params[f"space.{path}"] = str(dimension.model_dump_json(exclude_defaults=True))
        return self._find_or_create(self._sweep.id, self._sweep.name, self._sweep.created_at, tags, params)

    def child(self, trial: Trial, spec: TrialSpec | None) -> str:
        """Return the id of a trial's run, a child of the sweep's. It is created if there is none.

        Args:
            trial: The trial's row.
            spec: The trial's task, model and training, which become the parameters of a new run; None if the trial
                cannot be trained, so that the run gets its swept values only.
        """
        tags = {
            SWEEP_TAG: self._sweep.id,
            TRIAL_TAG: trial.id,
            "mlflow.parentRunId": self.parent(),
            "spectral.kind": "trial",
            "spectral.task": self._spec.task.name,
            **SOURCE_TAGS,
        }
        params = {"trial": trial.number, **trial.params}
        if spec is not None:
            tags["spectral.seed"] = str(spec.training.seed)
            params = trial_params(spec)
        started_at = trial.started_at or trial.created_at
        return self._find_or_create(trial.id, f"{self._sweep.name} #{trial.number}", started_at, tags, params)

    def _find_or_create(
        self, subject: str, name: str, started_at: float, tags: dict[str, str], params: dict[str, Any]
    ) -> str:
        """Return the id of a sweep's or trial's run: the one in the database, else one tagged in MLflow, or a new one.

        ``subject`` is the id of the sweep or trial.

        The search by tag finds a run that was created just before a crash, so that nothing gets two.
        """
        if subject not in self._known:
            if self._tagged is None:
                self._tagged = self._runs.of_sweep(self._sweep.id)
            run_id = self._tagged.get(subject)
            if run_id is None:
                run_id = self._runs.create(name, started_at, tags, params)
            else:
                self._runs.set_params(run_id, params)
            with self._database.write(self._term) as session:
                projections.put(session, subject, self._runs.experiment(), run_id)
            self._known[subject] = run_id
        return self._known[subject]


def trial_params(spec: TrialSpec) -> dict[str, Any]:
    """Return the fields of a trial's task, model and training by path, with defaults, and its numbers of parameters.

    Fields that are None, because they do not apply, are left out.
    """
    found: dict[str, Any] = {"trial": spec.number}
    for part in ("task", "model", "training"):
        values = getattr(spec, part).model_dump(mode="json")
        found |= {f"{part}.{name}": value for name, value in values.items() if value is not None}
    if spec.model.reflected:
        found["model.reflectors_u"], found["model.reflectors_v"] = spec.model.reflector_counts
    if spec.model.spectral:
        found |= {"model.margin": spec.model.band_margin, "model.sigma": spec.model.band_centre}
    parameters = count_parameters(spec.model, spec.task)
    found |= {"parameters.total": parameters.total, "parameters.recurrent": parameters.recurrent}
    return found
