"""The sweep that trains one trial again, with exactly the settings that it had."""

from __future__ import annotations

from typing import Any

from workers.spec.more_steps import prolonged_fields
from workers.spec.trial import TrialSpec


def replay_document(stored: dict[str, Any], trial: TrialSpec, trial_id: str, added_steps: int) -> dict[str, Any]:
    """Return the document of a sweep whose only trial is another training of a trial.

    It has the trial's values as a grid of one point, and everything else from the trial's sweep: so the trial is made
    in the same way. There is no early stopping, which could end it before the other one.

    Args:
        stored: The stored document of the trial's sweep.
        trial: The trial, with the steps that it has now.
        trial_id: Its id.
        added_steps: How many of its steps a user gave it after its end.
    """
    space = {path: {"values": [value]} for path, value in trial.params.items()}
    training = dict(stored["training"])
    for name in prolonged_fields(trial.training) if added_steps else ():
        path, value = f"training.{name}", getattr(trial.training, name)
        if path in space or name == "schedule_every":  # which the document may not have if the schedule is searched
            space[path] = {"values": [value]}
        else:
            training[name] = value
    return stored | {
        "name": f"replay of {trial_id}",
        "training": training,
        "space": space,
        "search": {"sampler": "grid"},
        "repeats": 1,
        "early_stopping": {"kind": "none"},
        "objective": stored.get("objective", {}) | trial.objective.model_dump() | {"statistic": "mean"},
        "replays": trial_id,
    }
