"""On a CPU a trial's numbers are the same bits alone, in any pack, at any number of threads and after any loss."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spectral.cpu import library
from tests.workers.models.networks import trial
from tests.workers.training.runs import assert_same_bits, trainer, values
from workers.spec.model import KINDS, REFLECTED, ModelSpec
from workers.training.trainer import Trainer
from workers.training.trainer_events import TrainerEvent

pytestmark = pytest.mark.skipif(
    not library.available(torch.device("cpu"), torch.float32), reason="needs the compiled code, and so a compiler"
)
EXAMPLES = settings(max_examples=6, deadline=None)


@st.composite
def companies(draw: st.DrawFn, kind: str, hidden_size: int) -> list[dict[str, Any]]:
    """Draw what may differ between the trials of one pack of a kind: 2 to 4 trials."""
    members, counts = [], st.integers(1, min(hidden_size, 30))  # above a half of 50, the compiled loop uses W
    for seed in range(draw(st.integers(2, 4))):
        own: dict[str, Any] = {
            "seed": seed,
            "lr": draw(st.sampled_from([0.003, 0.01, 0.05])),
            "clip_norm": draw(st.sampled_from([None, 0.1, 1.0])),
        }
        if kind in REFLECTED:
            own |= {"reflectors_u": draw(counts), "reflectors_v": draw(counts)}
        if ModelSpec(kind=kind, layers=2).spectral:  # type: ignore[arg-type]
            own |= {"margin": draw(st.sampled_from([0.01, 0.3])), "sigma": draw(st.sampled_from([0.9, 1.0]))}
        members.append(own)
    return members


@st.composite
def shared(draw: st.DrawFn) -> dict[str, Any]:
    """Draw what the trials of a pack have in common."""
    fields: dict[str, Any] = {
        "hidden_size": draw(st.sampled_from([1, 13, 50])),  # the compiled loop uses factors from 48 units on
        "optimizer": draw(st.sampled_from(["adam", "adamw", "rmsprop", "sgd"])),
        "weight_decay": draw(st.sampled_from([0.0, 0.01])),
        "batch_size": draw(st.integers(1, 13)),
        "steps": 4,
        "report_every": 2,
        "diagnose_every": 4,
    }
    task = draw(st.sampled_from(["adding", "copy", "digits"]))
    if task == "copy":  # many classes, read at every step, and token ids in place of numbers
        fields["task"] = {"name": "copy", "length": 2}
    if task == "digits":  # one feature
        fields["task"] = {"name": "digits"}
    return fields


def run(found: Trainer, threads: int, losses: dict[int, int]) -> list[TrainerEvent]:
    """Train to the end with a number of threads. ``losses`` says after how many reports a trial is taken away."""
    before, events = torch.get_num_threads(), []
    torch.set_num_threads(threads)
    try:
        for report in range(10**6):
            for lost in [i for i, at in losses.items() if at == report]:
                found.end(lost)
            if not found.live:
                return events
            events += found.advance()
    finally:
        torch.set_num_threads(before)
    raise AssertionError("the trials do not end")


@pytest.mark.parametrize("kind", sorted(KINDS))
@EXAMPLES
@given(data=st.data())
def test_a_trial_is_the_same_bits_in_any_pack(kind: str, data: st.DataObject) -> None:
    fields = data.draw(shared()) | {"dtype": data.draw(st.sampled_from(["float32", "float64"]))}
    if "mlp" in kind or "resnet" in kind:  # they have no state at every step
        fields.pop("task", None)
    specs = [trial(kind, **fields, **own) for own in data.draw(companies(kind, fields["hidden_size"]))]
    threads = data.draw(st.sampled_from([1, 2, 3]))
    losses = {i: data.draw(st.integers(0, 1)) for i in range(len(specs)) if data.draw(st.booleans())}
    together = trainer(specs)
    found = run(together, threads, losses)
    for i, spec in enumerate(specs):
        alone = trainer([spec])
        wanted = run(alone, 1, {0: losses[i]} if i in losses else {})
        assert values(found, i) == values(wanted, 0)
        assert_same_bits(together.state(i), alone.state(0))
