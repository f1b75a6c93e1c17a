"""The answer to a dry run: what a sweep would do, with an estimate from earlier runs or a short calibration."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from sqlalchemy.exc import SQLAlchemyError

from service import schemas
from service.api import dry_run
from service.api.deps import Context
from service.api.problems import busy
from service.api.storage_check import no_space
from service.estimates.calibrating import CalibrationBusy, CalibrationFailed, calibrate
from service.estimates.estimate import Estimator
from service.store import components, cost_samples, packs
from service.store.components import NodeSize
from workers.errors import FieldError
from workers.spec.checkpoint_size import sweep_bytes
from workers.spec.cost import MeasuredCost, cost_shape
from workers.spec.node_labels import has_labels
from workers.spec.sweep import SweepSpec
from workers.spec.trial import TrialSpec

MOST_TRIALS = 500
"""The shapes of so many trials of a sweep are looked up."""
IDLE_SHARE = 0.85
"""A trial run with less of a processor than this shared it with other programs."""
NOT_ALLOWED = "no trial run was made: this server may make none (SPECTRAL_CALIBRATE)"


class _Known(NamedTuple):
    """What the database says of the cluster, and of what was measured there.

    Attributes:
        nodes: The nodes of the cluster.
        measured: The measurements of packs.
        running: How many packs run now.
        full: Why the sweep does not fit into the checkpoint store; None if it does.
    """

    nodes: Sequence[NodeSize] = ()
    measured: Sequence[MeasuredCost] = ()
    running: int = 0
    full: FieldError | None = None

    def sizes_for(self, spec: SweepSpec) -> list[tuple[float, float]]:
        """Return the CPUs and GPUs of the nodes that have the labels which a sweep asks for."""
        return [(node.cpus, node.gpus) for node in self.nodes if has_labels(node.labels, spec.resources.labels)]


def dry_run_of(spec: SweepSpec, context: Context, *, calibrate: bool) -> schemas.DryRun:
    """Return what a sweep would do, and how long it would take.

    Args:
        spec: A valid sweep.
        context: The application's settings and database.
        calibrate: Whether packs are measured whose like have not been trained here yet.

    Raises:
        Refused: Packs are to be measured, and another request measures some (503).
    """
    needed = sweep_bytes(spec)
    trials = dry_run.trials_of(spec)
    known = _known(spec, trials, context, needed)
    estimator, notes = Estimator(spec, trials, known.sizes_for(spec), known.measured), list[str]()
    if calibrate:
        estimator, notes = _calibrated(estimator, context, known)
    found = dry_run.plan(spec, trials, known.nodes)
    shown = estimator.estimate(notes)
    full = dry_run.no_memory(shown["peak_memory_bytes"], spec.resources, known.nodes)
    found["warnings"] += [warning.as_dict() for warning in (full, known.full) if warning is not None]
    return schemas.DryRun(**found, checkpoint_bytes=needed, estimate=schemas.Estimate(**shown))


def _known(spec: SweepSpec, trials: Sequence[TrialSpec], context: Context, needed: int) -> _Known:
    """Return what the database says; nothing if it does not answer."""
    shapes = dict.fromkeys(map(cost_shape, trials[:: 1 + len(trials) // MOST_TRIALS]))
    try:
        with context.database.read() as session:
            return _Known(
                components.nodes(session),
                cost_samples.known(session, on_gpu=spec.resources.gpus > 0, shapes=shapes),
                len(packs.open_packs(session)),
                no_space(session, spec, needed),
            )
    except SQLAlchemyError:
        return _Known()


def _calibrated(estimator: Estimator, context: Context, known: _Known) -> tuple[Estimator, list[str]]:
    """Measure packs, keep the result for other sweeps, and return the estimator that knows it, and what to say."""
    settings, spec = context.settings, estimator.spec
    if not settings.calibrate:
        return estimator, [NOT_ALLOWED]
    unknown = estimator.to_calibrate()
    if not unknown:
        return estimator, ["no trial run was made: earlier runs of such packs are known"]
    try:
        found = calibrate(
            unknown,
            spec.resources.cpus,
            spec.resources.gpus,
            estimator.at_once,
            settings.data_dir,
            _scratch(settings.checkpoint_dir),
        )
    except CalibrationBusy:
        raise busy() from None
    except CalibrationFailed as error:
        return estimator, [f"a trial run has failed: {error}"]
    try:
        with context.database.write() as session:
            cost_samples.add(session, found.costs)
    except SQLAlchemyError:  # the answer does not need it: it is for later sweeps
        pass
    notes = (
        [f"{known.running} packs were running during the trial run, and shared its caches and memory"]
        if known.running
        else []
    )
    if not spec.resources.gpus and spec.resources.cpus >= 1 and found.busy < IDLE_SHARE:
        notes.append(
            f"the trial run had {found.busy:.0%} of a processor; if what had the rest runs on, the sweep takes longer"
        )
    together = Estimator(spec, estimator.trials, known.sizes_for(spec), [*known.measured, *found.costs])
    return together, notes


def _scratch(checkpoint_dir: Path) -> Path | None:
    """Return a folder on the disk of the checkpoint store; None if this process cannot write there."""
    folder = checkpoint_dir.absolute().parent
    return folder if folder.is_dir() and os.access(folder, os.W_OK) else None
