"""More steps for a trial that has ended: it goes on from its last checkpoint, as if it had been asked for all at once.

That is so for every schedule of the learning rate but the cosine, which has fallen to 0 when the trial ends. What
follows from the number of steps by default stays as it was: the intervals of reports and checkpoints, and that of the
schedule ``step``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from workers.errors import FieldError, SpecError
from workers.spec.expand import TrialPlan, plan_trial
from workers.spec.field_errors import refuse_unknown, shorten
from workers.spec.search_space import Scalar
from workers.spec.sweep import SweepSpec
from workers.spec.training import MAX_STEPS, TrainingSpec
from workers.spec.trial import TrialSpec


def parse_more_steps(document: Any) -> int:
    """Return the number of steps that a document such as ``{"steps": 1200}`` asks for, those already done included.

    Raises:
        SpecError: It is no such document.
    """
    if not isinstance(document, dict) or not document:
        problem = "does not say how many steps the trial is to have"
        raise SpecError([FieldError("(document)", shorten(document), problem, 'an object such as {"steps": 1200}')])
    refuse_unknown(document, ("steps",), "is not what a trial is extended by")
    steps = document["steps"]
    if isinstance(steps, bool) or not isinstance(steps, int) or not 1 <= steps <= MAX_STEPS:
        allowed = f"a whole number from 1 to {MAX_STEPS:,}, with the steps that the trial has done"
        raise SpecError([FieldError("steps", shorten(steps), "is not a number of steps", allowed)])
    return steps


def plan_longer(sweep: SweepSpec, number: int, params: Mapping[str, Scalar], added_steps: int) -> TrialPlan:
    """Return a trial as ``plan_trial`` does, with so many steps more than its point has.

    Args:
        sweep: The sweep.
        number: The trial's number.
        params: Its point.
        added_steps: The further steps; 0 for a trial that was given none.
    """
    plan = plan_trial(sweep, number, params)
    if plan.spec is None or not added_steps:
        return plan
    training = prolonged(plan.spec.training, plan.spec.training.steps + added_steps)
    return replace(plan, spec=plan.spec.model_copy(update={"training": training}))


def prolonged(training: TrainingSpec, steps: int) -> TrainingSpec:
    """Return a training of more steps, of which the first are those of ``training``.

    Prolonging it once more gives what prolonging it once by as much gives.
    """
    kept = {
        "report_every": training.report_interval,
        "checkpoint_every": training.checkpoint_every or training.checkpoint_interval,
    }
    if "schedule_every" in prolonged_fields(training):
        kept["schedule_every"] = training.step_interval
    return TrainingSpec.model_validate(training.model_dump(exclude_unset=True) | kept | {"steps": steps})


def prolonged_fields(training: TrainingSpec) -> tuple[str, ...]:
    """Return the fields of a training that prolonging it sets."""
    falls = training.schedule == "step" and training.schedule_unit != "epochs"
    return ("steps", "report_every", "checkpoint_every", *(("schedule_every",) if falls else ()))


def is_beginning_of(earlier: TrainingSpec, later: TrainingSpec) -> bool:
    """Return whether a training is the first part of a longer one, or the same one."""
    if earlier == later:
        return True
    longer = earlier.steps < later.steps and earlier.schedule != "cosine"
    return longer and prolonged(earlier, later.steps) == later


def require_longer(trial: TrialSpec, steps: int) -> None:
    """Raise SpecError if a trial cannot go on to a number of steps.

    Args:
        trial: The trial, with the steps that it has now.
        steps: The steps that it is to have.
    """
    training = trial.training
    if training.schedule == "cosine":
        problem = f"has let the learning rate fall to 0 at step {training.steps}, so further steps would change nothing"
        allowed = f"a new sweep with training.steps {steps}, whose cosine ends there"
        raise SpecError([FieldError("training.schedule", "cosine", problem, allowed)])
    if steps <= training.steps:
        problem = f"is not more than the {training.steps} steps that the trial has"
        raise SpecError([FieldError("steps", steps, problem, f"more than {training.steps}")])
