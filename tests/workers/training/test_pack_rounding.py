"""How far a trial's numbers depend on its pack: with equal numbers of reflectors not at all, otherwise by rounding.

On a CPU with the compiled code they do not depend on it at all; see test_any_pack.py.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.workers.examples import make_trial
from tests.workers.models.networks import trial
from tests.workers.training.runs import assert_same_bits, run, trainer, values
from workers.spec.model import KINDS, REFLECTED, ModelSpec
from workers.spec.trial import TrialSpec

DIGITS: dict[str, Any] = {"task": {"name": "digits"}, "hidden_size": 32, "activation": "tanh", "batch_size": 16}


def alike(kind: str) -> list[TrialSpec]:
    """Return three trials that differ in everything in which pack mates may, but for their numbers of reflectors."""
    found = []
    for seed, (margin, rate, clip) in enumerate([(0.01, 0.01, 1.0), (0.3, 0.03, None), (0.1, 0.02, 0.05)]):
        own: dict[str, Any] = {"seed": seed, "lr": rate, "clip_norm": clip, "dtype": "float32", "hidden_size": 16}
        if kind in REFLECTED:
            own["reflectors"] = 5
        if ModelSpec(kind=kind, layers=2).spectral:  # type: ignore[arg-type]
            own["margin"] = margin
        found.append(trial(kind, **own, steps=24, report_every=8))
    return found


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_with_equal_numbers_of_reflectors_a_trial_trains_to_the_same_bits_alone_and_in_a_pack(kind: str) -> None:
    specs = alike(kind)
    together = trainer(specs)
    events = run(together)
    for i, spec in enumerate(specs):
        alone = trainer([spec])
        assert values(run(alone), 0) == values(events, i)
        assert_same_bits(alone.state(0), together.state(i))


@pytest.mark.parametrize(("dtype", "bound"), [("float64", 1e-11), ("float32", 1e-4)])
def test_beside_more_reflectors_a_trial_first_differs_at_most_by_rounding(dtype: str, bound: float) -> None:
    """Over many more steps training can amplify the difference to any size, so these are few."""
    own = DIGITS | {"dtype": dtype, "lr": 0.002, "steps": 20, "report_every": 10}
    specs = [make_trial(reflectors=count, seed=seed, **own) for seed, count in enumerate((8, 16, 3))]
    together = trainer(specs)
    events = run(together)
    for i, spec in enumerate(specs):
        alone = trainer([spec])
        wanted, found = values(run(alone), 0), values(events, i)
        assert found.keys() == wanted.keys() == {10, 20}
        for step, metrics in wanted.items():
            assert found[step]["val/loss"] == pytest.approx(metrics["val/loss"], rel=bound)
        for name, tensor in alone.state(0).model.items():
            torch.testing.assert_close(together.state(i).model[name], tensor, rtol=bound, atol=bound)
        if spec.model.reflectors == 16:  # no other trial has more
            assert_same_bits(alone.state(0), together.state(i))
