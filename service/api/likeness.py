"""Two trials compared, metric by metric and step by step, with what may explain a difference."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from service.store import attempts, packs, reports, sweeps
from service.store.tables import Trial
from workers.spec.more_steps import plan_longer
from workers.spec.report_comparison import compare_reports, rounding_of
from workers.spec.sweep import SweepSpec
from workers.spec.trial import TrialSpec

UNSEEN = (
    "what is not recorded: another kind of processor or GPU, another version of torch or of this service, changed data "
    "files, or no C++ compiler, without which numbers depend on the other trials of a pack"
)


def likeness_of(session: Session, first: Trial, second: Trial) -> dict[str, Any]:
    """Return a ``TrialLikeness``: how the reports of two trials compare.

    Raises:
        pydantic.ValidationError: An earlier release stored a sweep that this version does not read.
        SpecError: One of the trials cannot be trained by this version.
    """
    documents = [SweepSpec.model_validate(sweeps.get(session, trial.sweep_id).spec) for trial in (first, second)]
    specs = [
        plan_longer(document, trial.number, trial.params, trial.added_steps).require_spec()
        for document, trial in zip(documents, (first, second), strict=True)
    ]
    told = [{row.step: row.values for row in reports.of_trial(session, trial.id)} for trial in (first, second)]
    rounding = max(rounding_of(spec.training.dtype) for spec in specs)
    likeness, metrics = compare_reports(told[0], told[1], rounding)
    settings = _differing(*specs)
    gpus = [document.resources.gpus for document in documents]
    sizes = [_pack_sizes(session, trial) for trial in (first, second)]
    return {
        "first": first.id,
        "second": second.id,
        "likeness": likeness,
        "rounding": rounding,
        "steps": len(told[0].keys() & told[1].keys()),
        "only_first": len(told[0].keys() - told[1].keys()),
        "only_second": len(told[1].keys() - told[0].keys()),
        "metrics": [vars(metric) for metric in metrics],
        "settings": settings,
        "explanations": [] if likeness in ("equal", "nothing in common") else _explanations(settings, gpus, sizes),
    }


def _differing(first: TrialSpec, second: TrialSpec) -> list[dict[str, Any]]:
    """Return the fields of task, model and training in which two trials differ, each with both values."""
    found = []
    for part in ("task", "model", "training"):
        one, other = (getattr(spec, part).model_dump(mode="json") for spec in (first, second))
        for name in dict.fromkeys((*one, *other)):
            if one.get(name) != other.get(name):
                found.append({"field": f"{part}.{name}", "first": one.get(name), "second": other.get(name)})
    return found


def _pack_sizes(session: Session, trial: Trial) -> list[int]:
    """Return how many trials were in each pack that a trial was in, the first pack first."""
    return [len(packs.get(session, attempt.pack_id).trial_ids) for attempt in attempts.of_trial(session, trial.id)]


def _explanations(settings: list[dict[str, Any]], gpus: list[float], sizes: list[list[int]]) -> list[str]:
    found = []
    if settings:
        found.append(f"their settings differ: {', '.join(one['field'] for one in settings)}")
    if bool(gpus[0]) != bool(gpus[1]):
        found.append("one was trained on a GPU and the other on a CPU, which add in different orders")
    elif gpus[0] and sizes[0] != sizes[1]:
        first, second = (", then ".join(map(str, of_trial)) or "none" for of_trial in sizes)
        found.append(
            "on a GPU numbers depend on how many trials are trained at once: the packs of the first had "
            f"{first} trials, those of the second {second}"
        )
    return [*found, UNSEEN]
