"""Telling MLflow of one sweep: its outbox entries, run by run, in an order that may be repeated."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from service.store import checkpoints, outbox, projections
from service.store.database import Database
from service.store.tables import OutboxEntry, Sweep, Trial
from service.tracking import diagnostic_plots, logged_models, plots, sweep_results
from service.tracking.mlflow_runs import SWEEP_TAG, TRIAL_TAG, Look, Runs
from workers.spec.expand import objective
from workers.spec.parameter_count import count_parameters
from workers.spec.sweep import SweepSpec
from workers.spec.trial import TrialSpec

log = logging.getLogger(__name__)

MODEL_TAG = "spectral.model_id"
THREADS = 4
"""Trials told at once. MLflow answers few at a time, but need not wait for us between two of its answers."""
PART = 16
"""Trials whose entries are removed together; a controller that is to end waits for these and no more."""


class Untellable(RuntimeError):
    """A sweep of which MLflow can be told nothing: what was stored of it is no sweep of this version."""


class Telling:
    """One sweep's entries. Entries are removed as soon as MLflow has taken them. Raises Untellable."""

    def __init__(self, database: Database, term: int, runs: Runs, sweep_id: str) -> None:
        self._database, self._term, self._runs, self._sweep_id = database, term, runs, sweep_id
        with database.read() as session:
            self._sweep = session.get_one(Sweep, sweep_id)
            known = projections.of_sweep(session, sweep_id)
        try:
            self._spec = SweepSpec.model_validate(self._sweep.spec)
        except ValidationError as error:
            raise Untellable(" ".join(str(error).split())[:300]) from None
        self._known = {subject: row.run_id for subject, row in known.items()}
        self._tagged: dict[str, str] | None = None

    def tell(self, entries: Sequence[OutboxEntry]) -> None:
        """Trials first, the sweep last: what is told of a sweep's end looks at all of its trials' runs."""
        by_subject: dict[str | None, list[OutboxEntry]] = {}
        for entry in entries:
            by_subject.setdefault(entry.trial_id, []).append(entry)
        own = by_subject.pop(None, [])
        self._parent()
        end = next((entry.payload for entry in own if entry.kind == "ended"), None)
        with ThreadPoolExecutor(THREADS, thread_name_prefix="mlflow") as pool:
            plotted = pool.submit(self._plotted) if end else None  # while MLflow takes the last trials
            for some in _parts(list(by_subject.values()), PART):
                told = [(of_trial, pool.submit(self._tell_trial, *self._of_trial(of_trial))) for of_trial in some]
                wait([future for _, future in told])
                self._told([entry for of_trial, future in told if not future.exception() for entry in of_trial])
                for _, future in told:
                    future.result()
            if plotted and end:
                self._tell_end(end, *plotted.result())
        self._told(own)

    def _told(self, entries: Sequence[OutboxEntry]) -> None:
        if entries:
            with self._database.write(self._term) as session:
                outbox.remove(session, [entry.id for entry in entries])

    # runs

    def _parent(self) -> str:
        tags = {
            SWEEP_TAG: self._sweep_id, "spectral.kind": "sweep", "spectral.task": self._spec.task.name,
            "mlflow.source.name": "spectral", "mlflow.source.type": "JOB",
        }  # fmt: skip
        goal = objective(self._spec)
        params = {
            "sampler": self._spec.search.sampler, "seed": self._spec.search.seed, "trials": self._sweep.trial_count,
            "objective": goal.metric, "direction": goal.direction, "early_stopping": self._spec.early_stopping.kind,
        }  # fmt: skip
        params |= {f"space.{path}": _dimension(d) for path, d in self._spec.space.items()}
        return self._run(self._sweep_id, self._sweep.name, self._sweep.created_at, tags, params)

    def _child(self, trial: Trial, spec: TrialSpec | None) -> str:
        tags = {
            SWEEP_TAG: self._sweep_id, TRIAL_TAG: trial.id, "mlflow.parentRunId": self._parent(),
            "spectral.kind": "trial", "spectral.task": self._spec.task.name,
            "mlflow.source.name": "spectral", "mlflow.source.type": "JOB",
        }  # fmt: skip
        if spec is not None:
            tags["spectral.seed"] = str(spec.training.seed)
        params = _params(spec) if spec is not None else {"trial": trial.number, **trial.params}
        return self._run(
            trial.id, f"{self._sweep.name} #{trial.number}", trial.started_at or trial.created_at, tags, params
        )

    def _run(self, subject: str, name: str, at: float, tags: dict[str, str], params: dict[str, Any]) -> str:
        """The subject's run: as our rows know it, as its tag finds it, or new."""
        if subject not in self._known:
            if self._tagged is None:
                self._tagged = self._runs.of_sweep(self._sweep_id)
            run_id = self._tagged.get(subject)
            if run_id is None:
                run_id = self._runs.create(name, at, tags, params)
            else:
                self._runs.set_params(run_id, params)
            with self._database.write(self._term) as session:
                projections.put(session, subject, self._runs.experiment(), run_id)
            self._known[subject] = run_id
        return self._known[subject]

    # trials

    def _of_trial(self, entries: Sequence[OutboxEntry]) -> tuple[Trial, TrialSpec | None, str, Sequence[OutboxEntry]]:
        """The trial, all that trains it, and its run, which is there when this returns."""
        assert entries[0].trial_id is not None
        with self._database.read() as session:
            trial = session.get_one(Trial, entries[0].trial_id)
        spec = sweep_results.resolved(self._spec, trial)
        return trial, spec, self._child(trial, spec), entries

    def _tell_trial(self, trial: Trial, spec: TrialSpec | None, run_id: str, entries: Sequence[OutboxEntry]) -> None:
        """Runs beside those of other trials: it touches no one's state but MLflow's."""
        points = [(e.payload["step"], e.payload["at"], e.payload["values"]) for e in entries if e.kind == "metrics"]
        paths = [e.payload["path"] for e in entries if e.kind == "checkpoint"]
        tags: dict[str, Any] = {"spectral.checkpoint": paths[-1]} if paths else {}
        end = next((entry.payload for entry in entries if entry.kind == "ended"), None)
        if end:
            tags |= self._kept(trial, spec, run_id, end["state"])
            tags |= {"spectral.state": end["state"], "spectral.reason": end["reason"]}
        self._runs.log(run_id, points, tags)
        if end:
            self._runs.end(run_id, end["state"], end["at"])

    def _kept(self, trial: Trial, spec: TrialSpec | None, run_id: str, state: str) -> dict[str, Any]:
        """Copies a trial's checkpoints and logs its model where it has one; gives the tags that tell of its result."""
        with self._database.read() as session:
            best = checkpoints.find(session, trial.id, "best")
            last = checkpoints.find(session, trial.id, "last")
        run = self._runs.get(run_id)
        for which, checkpoint in (("best", best), ("last", last)):
            if checkpoint is not None and self._there(trial, Path(checkpoint.path)):
                self._runs.copy(run, checkpoint.path, f"checkpoints/{which}")
        tags: dict[str, Any] = {"spectral.objective": trial.objective, "spectral.best_step": trial.best_step}
        source = best or last
        wanted = state == "succeeded" and MODEL_TAG not in run.data.tags
        if wanted and spec and source and self._there(trial, Path(source.path)):
            path = Path(source.path)
            tags[MODEL_TAG] = logged_models.log_model(self._runs.client, run, spec, path, _params(spec))
        return tags

    def _there(self, trial: Trial, path: Path) -> bool:
        if (path / logged_models.FILES[0]).is_file():
            return True
        log.warning(
            "checkpoint %s of trial %s cannot be read here, so MLflow gets no copy of it; mount the checkpoint store "
            "at the same path as on the workers (SPECTRAL_CHECKPOINT_DIR)", path, trial.id,
        )  # fmt: skip
        return False

    # the sweep's end

    def _plotted(self) -> tuple[sweep_results.SweepResults, dict[str, bytes]]:
        """How the sweep ended, and its plots by file name; from our tables alone."""
        with self._database.read() as session:
            found = sweep_results.read(session, self._sweep_id)
        if not found.scored:
            return found, {}
        drawn = {"results.png": plots.results(found), "learning_curves.png": plots.learning_curves(found)}
        return found, drawn | diagnostic_plots.drawn(found)

    def _tell_end(self, payload: dict[str, Any], found: sweep_results.SweepResults, drawn: dict[str, bytes]) -> None:
        run_id = self._parent()
        self._runs.client.log_dict(run_id, sweep_results.leaderboard(found), "leaderboard.json")
        if drawn:
            with tempfile.TemporaryDirectory() as folder:
                for name, content in drawn.items():
                    Path(folder, name).write_bytes(content)
                self._runs.client.log_artifacts(run_id, folder, "plots")
        points: list[Look] = []
        tags = {"spectral.state": payload["state"], "spectral.reason": payload["reason"]}
        if found.best is not None:
            trial = found.best.trial
            assert trial.objective is not None
            points = [(trial.best_step or 0, payload["at"], {f"best/{found.objective.metric}": trial.objective})]
            own_run = self._child(trial, found.best.spec)
            tags |= {"spectral.best_trial": trial.id, "spectral.best_run": own_run}
            self._register(own_run)
        self._runs.log(run_id, points, tags)
        self._runs.end(run_id, payload["state"], payload["at"])

    def _register(self, run_id: str) -> None:
        model_id = self._runs.get(run_id).data.tags.get(MODEL_TAG)
        if model_id is not None:
            logged_models.register(run_id, model_id, self._sweep.name, self._sweep_id)


def _params(spec: TrialSpec) -> dict[str, Any]:
    """All that trains the trial, defaults filled in where they count."""
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


def _parts(trials_: list[list[OutboxEntry]], size: int) -> Iterator[list[list[OutboxEntry]]]:
    return (trials_[start : start + size] for start in range(0, len(trials_), size))


def _dimension(dimension: Any) -> str:
    return str(dimension.model_dump_json(exclude_defaults=True))
