"""The document of a replay gives the trial that it replays."""

from __future__ import annotations

from typing import Any

import pytest

from service.api.submission import stored
from tests.workers.examples import sweep_document
from workers.spec.expand import objective, plan_trial, points_of, trial_count
from workers.spec.more_steps import plan_longer
from workers.spec.parse import parse_sweep
from workers.spec.replay import replay_document

KINDS: dict[str, Any] = {
    "model.kind": ["spectral_rnn", "lstm"],
    "model.reflectors": {"low": 1, "high": 6, "when": {"model.kind": "spectral_rnn"}},
    "training.optimizer": ["adam", "sgd"],
}


@pytest.mark.parametrize("added", [0, 7])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"space": KINDS, "search": {"sampler": "random", "trials": 12}},
        {"space": {"model.margin": [0.01, 0.1]}, "repeats": 3, "objective": {"statistic": "max"}},
        {"space": {"training.steps": [8, 12], "task.length": [8, 12]}, "early_stopping": {"kind": "median"}},
        {"space": {"training.schedule": ["constant", "step"], "training.schedule_every": [5, 6]}},
        {
            "space": {"model.reflectors_u": [1, 2], "model.reflectors_v": [1, 2]},
            "model": {"hidden_size": 6},
            "search": {"constraints": ["model.reflectors_u < model.reflectors_v"]},
        },
        {"space": {"model.margin": {"low": 0.01, "high": 0.1}}, "search": {"sampler": "tpe", "trials": 3}},
    ],
)
def test_a_replay_has_one_trial_with_exactly_the_settings(changes: dict[str, Any], added: int) -> None:
    sweep = parse_sweep(sweep_document(**changes))
    document = stored(sweep)
    for number, params in enumerate(points_of(sweep)):
        trial = plan_longer(sweep, number, params, added).require_spec()
        replay = parse_sweep(replay_document(document, trial, f"sw0123456789-{number:04d}", added))
        assert trial_count(replay) == 1
        (point,) = points_of(replay)
        again = plan_trial(replay, 0, point).require_spec()
        parts = ("task", "model", "training", "objective", "shape_key")
        assert [getattr(again, part) for part in parts] == [getattr(trial, part) for part in parts]
        assert replay.replays == f"sw0123456789-{number:04d}"
        assert (replay.early_stopping.kind, replay.repeats, objective(replay)) == ("none", 1, objective(sweep))
        assert (replay.resources, replay.retries, replay.checkpoints) == (
            sweep.resources,
            sweep.retries,
            sweep.checkpoints,
        )
