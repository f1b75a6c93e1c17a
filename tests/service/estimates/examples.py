"""Sweeps, trials and measurements for the tests of estimates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from service.estimates.pack_costs import PackProfile
from tests.workers.examples import sweep_document
from workers.spec.cost import MeasuredCost
from workers.spec.expand import plan_trials
from workers.spec.parse import parse_sweep
from workers.spec.sweep import SweepSpec
from workers.spec.trial import TrialSpec


def sweep_of(**parts: Any) -> tuple[SweepSpec, list[TrialSpec]]:
    """Return a sweep with the given parts, and all of its trials."""
    spec = parse_sweep(sweep_document(**parts))
    return spec, [plan.require_spec() for plan in plan_trials(spec)]


def seeds(count: int) -> dict[str, Any]:
    """Return a space of so many trials of one shape."""
    return {"training.seed": {"values": list(range(count))}}


def measured(trials: Sequence[TrialSpec], **changes: Any) -> MeasuredCost:
    """Return a measurement of a pack of these trials, with round numbers unless ``changes`` has others."""
    pack = PackProfile.of(trials)
    fields: dict[str, Any] = {
        "source": "run",
        "shape": pack.shape,
        "kind": pack.kind,
        "device": "cpu: test",
        "cpus": 1.0,
        "gpus": 0.0,
        "trials": pack.trials,
        "size": pack.trials,
        "work": pack.work,
        "steps": 100,
        "step_seconds": 0.1,
        "evaluation_seconds": 0.5,
        "checkpoint_seconds": 0.01,
        "start_seconds": 4.0,
        "peak_bytes": 400_000_000,
    }
    return MeasuredCost(**fields | changes)
