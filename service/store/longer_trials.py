"""Which trials go on when a user gives a trial more steps, and why some cannot."""

from __future__ import annotations

from sqlalchemy.orm import Session

from service.states import IllegalMove
from service.store import checkpoints, trials
from service.store.tables import Trial
from workers.spec.expand import plan_trial
from workers.spec.more_steps import plan_longer, require_longer
from workers.spec.sweep import SweepSpec


def going_on(session: Session, spec: SweepSpec, trial: Trial, steps: int) -> dict[Trial, int]:
    """Return the trials that go on, each with the steps that its point has.

    They are the trial itself, or with ``repeats`` all trials of its point: a mean over trials of different lengths
    would say nothing. Those that had reached ``training.target`` stay as they are, and so do cancelled ones.

    Args:
        session: A session in a write transaction, in which the sweep was locked.
        spec: The sweep.
        trial: The trial.
        steps: The steps that it is to have.

    Raises:
        SpecError: It has as many steps already, or its learning rate has fallen to 0.
        states.IllegalMove: One of them has not succeeded, the last checkpoint of one is gone, or all of them have
            reached their targets.
    """
    first = trial.number // spec.repeats * spec.repeats
    point = trials.of_numbers(session, trial.sweep_id, range(first, first + spec.repeats))
    for one in (trial, *(one for _, one in sorted(point.items()) if one.state != "cancelled")):
        if one.state != "succeeded":
            raise IllegalMove(_not_succeeded(trial, one))
    found: dict[Trial, int] = {}
    for _, one in sorted(point.items()):
        if one.state == "cancelled":
            continue
        planned = plan_longer(spec, one.number, one.params, one.added_steps).require_spec()
        require_longer(planned, steps)
        if one.step < planned.training.steps:
            continue  # it has reached its target
        _require_checkpoint(session, one)
        found[one] = plan_trial(spec, one.number, one.params).require_spec().training.steps
    if not found:
        raise IllegalMove(
            f"cannot give trial {trial.number} more steps: it reached training.target at step {trial.step}, and would "
            "end there again"
        )
    return found


def _not_succeeded(trial: Trial, one: Trial) -> str:
    if one is trial:
        way_out = "; run it again first" if one.state == "failed" else ""
        return f"cannot give more steps to a trial that is {one.state}; only to one that has succeeded{way_out}"
    return (
        f"cannot give trial {trial.number} more steps: all trials of its point go on together, and trial {one.number} "
        f"is {one.state}"
    )


def _require_checkpoint(session: Session, trial: Trial) -> None:
    last = checkpoints.find(session, trial.id, "last")
    if last is None or last.removed_at is not None or last.step < trial.step:
        raise IllegalMove(
            f"cannot give trial {trial.number} more steps: its checkpoint of step {trial.step} is not in the "
            'checkpoint store any more; it stays there with "last" in checkpoints.keep of the sweep'
        )
