"""Diagnostics against plain autograd and dense matrices; they change nothing and cannot fail a trial."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from spectral.transition import Transition, dense_literal
from tests.workers.examples import make_trial
from workers.models import initial_network, pack
from workers.models.packed_model import PackedModel
from workers.spec.trial import TrialSpec
from workers.training import diagnostics, probe_points
from workers.training.batches import Batch, TaskData
from workers.training.diagnostics import _state, is_due, measure
from workers.training.gradient_flow import gradient_norms
from workers.training.metrics import losses
from workers.training.trainer import Trainer
from workers.training.trainer_events import Failed, Reported
from workers.training.training_state import TrainingState

CPU = torch.device("cpu")
ADDING = {"name": "adding", "length": 40}
COPY = {"name": "copy", "length": 15}
KINDS: list[tuple[str, dict[str, Any]]] = [
    ("spectral_rnn", {"reflectors": 3, "activation": "tanh", "layers": 2}),
    ("spectral_rnn", {"reflectors": 3, "activation": "modrelu"}),
    ("spectral_lstm", {"reflectors": 3}),
    ("lstm", {"reflectors": None, "layers": 2}),
    ("gru", {"reflectors": None}),
]


def packed(specs: Sequence[TrialSpec]) -> tuple[PackedModel, Batch]:
    data = TaskData(specs[0].task, None, CPU, torch.float64)
    seeds, size = [spec.training.seed for spec in specs], specs[0].training.batch_size
    batch = data.batch([data.order(seed, size) for seed in seeds], seeds, [0] * len(specs), size)
    return pack([initial_network(spec) for spec in specs]), batch


def step_by_step(model: PackedModel, batch: Batch, specs: Sequence[TrialSpec], rows: int) -> list[Tensor]:
    """Return |dL/dh_t| at every t from 0 to T, each of shape (K,), by autograd through one step after another."""
    task, size = specs[0].task, model.hidden_size
    lengths = None if batch.lengths is None else batch.lengths[:, :rows]
    states = [model.zeros(rows).requires_grad_()]
    for t in range(batch.inputs.shape[2]):
        _, after = model.read(batch.inputs[:, :rows, t : t + 1], states[-1], every=False)
        if lengths is not None:
            after = torch.where((lengths > t)[:, None, :, None], after, states[-1])
        states.append(after)
    tops = [model.top(state) for state in states[1:]]
    read = torch.stack(tops, 2) if task.readout == "every" else tops[-1]
    found = torch.autograd.grad(losses(task, model.read_out(read), batch.targets[:, :rows]).sum(), states)
    return [g[..., :size].flatten(1).square().sum(1).sqrt() for g in found]


@pytest.mark.parametrize("task", [ADDING, COPY])
@pytest.mark.parametrize(("kind", "own"), KINDS)
def test_gradients_over_time_are_those_of_one_step_after_another(
    kind: str, own: dict[str, Any], task: dict[str, Any]
) -> None:
    specs = [make_trial(kind=kind, task=task, seed=s, dtype="float64", batch_size=12, **own) for s in range(2)]
    model, batch = packed(specs)
    found = gradient_norms(specs[0].task, model, batch, model.zeros(12))
    wanted = step_by_step(model, batch, specs, rows=3)
    cuts = probe_points.time_points(batch.inputs.shape[2])
    assert list(found) == [f"grad_t/{i:02d}" for i in range(16)]
    assert (cuts[0], cuts[-1], len(cuts)) == (0, batch.inputs.shape[2], 16)
    for cut, norm in zip(cuts, found.values(), strict=True):
        torch.testing.assert_close(norm, wanted[cut] * math.sqrt(3 / 12), rtol=1e-9, atol=1e-13)
    assert all(p.requires_grad and p.grad is None for p in model.parameters.values())


@pytest.mark.parametrize("task", [ADDING, COPY])
def test_gradients_of_sequences_of_different_lengths_end_where_they_end(task: dict[str, Any]) -> None:
    specs = [make_trial(task=task, seed=s, dtype="float64", batch_size=12) for s in range(2)]
    model, batch = packed(specs)
    steps = batch.inputs.shape[2]
    lengths = torch.tensor([[steps, 7, 20] * 4, [1, steps, 18] * 4])
    if specs[0].task.readout == "every":
        past = torch.arange(steps) >= lengths.unsqueeze(-1)
        batch = batch._replace(targets=batch.targets.masked_fill(past, -100))
    batch = batch._replace(lengths=lengths)
    found = list(gradient_norms(specs[0].task, model, batch, model.zeros(12)).values())
    wanted = step_by_step(model, batch, specs, rows=3)
    inner = list(zip(probe_points.time_points(steps), found, strict=True))[:-1]
    for cut, norm in inner:
        torch.testing.assert_close(norm, wanted[cut] * math.sqrt(3 / 12), rtol=1e-9, atol=1e-13)


def test_a_short_sequence_has_a_point_for_every_step() -> None:
    assert probe_points.time_points(3) == [0, 1, 2, 3]
    assert probe_points.time_points(1) == [0, 1]


@pytest.mark.parametrize(("kind", "layers"), [("spectral_rnn", 2), ("spectral_gru", 1), ("spectral_mlp", 3)])
def test_the_spectrum_is_that_of_the_matrices(kind: str, layers: int) -> None:
    specs = [
        make_trial(kind=kind, layers=layers, dtype="float64", margin=r, sigma=1.5, seed=s, start="gaussian")
        for s, r in enumerate((0.1, 0.4))
    ]
    model, batch = packed(specs)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, p in model.parameters.items():
            if "singular" in name:
                p.normal_(0, 2, generator=generator)
    last = diagnostics.LastStep(batch, model.zeros(4), torch.randn(2, 4, 6, generator=generator))
    rows = measure(specs[0].task, model, specs, last)
    for k, (spec, row) in enumerate(zip(specs, rows, strict=True)):
        values = torch.cat([torch.linalg.svdvals(_dense(t, k)).flatten() for t in model.transitions()])
        assert row["spectral/min"] == pytest.approx(float(values.min()), rel=1e-12)
        assert row["spectral/max"] == pytest.approx(float(values.max()), rel=1e-12)
        assert row["spectral/orthogonality"] < 1e-14
        margin = spec.model.band_margin
        counts = torch.histc(values, bins=10, min=1.5 - margin, max=1.5 + margin) / len(values)
        assert [row[f"spectral_hist/{i}"] for i in range(10)] == pytest.approx(counts.tolist())
        assert ("grad_t/00" in row) == (kind != "spectral_mlp")


@torch.no_grad()
def _dense(transition: Transition, k: int) -> Tensor:
    return dense_literal(Transition(*(part[k] for part in transition)))


@pytest.mark.parametrize(("kind", "own"), [("rnn", {}), ("ornn", {"reflectors": 2})])
def test_diagnostics_that_a_kind_does_not_have_are_left_out(kind: str, own: dict[str, Any]) -> None:
    spec = make_trial(kind=kind, dtype="float64", **({"reflectors": None} | own))
    model, batch = packed([spec])
    (row,) = measure(spec.task, model, [spec], diagnostics.LastStep(batch, model.zeros(4), torch.ones(1, 4, 6)))
    assert ("spectral/min" in row) == (kind == "ornn")
    assert not any(name.startswith("spectral_hist") for name in row)
    if kind == "ornn":
        assert row["spectral/min"] == row["spectral/max"] == 1.0


def test_rank_counts_directions_and_saturation_counts_flat_units() -> None:
    tops = torch.zeros(3, 4, 6, dtype=torch.float64)
    tops[0, :, :4] = 2 * torch.eye(4, dtype=torch.float64)
    tops[1] = torch.outer(torch.arange(1.0, 5.0), torch.full((6,), 0.999))
    tops[2, 0] = math.nan
    found = _state(tops, "relu")
    assert found["state/rank"].tolist() == pytest.approx([4.0, 1.0, 1.0])
    assert found["state/saturated"].tolist() == pytest.approx([20 / 24, 0.0, 18 / 24])
    assert _state(tops, "tanh")["state/saturated"].tolist()[:2] == pytest.approx([4 / 24, 1.0])
    assert _state(-tops, "leaky_relu")["state/saturated"].tolist()[:2] == pytest.approx([4 / 24, 1.0])
    assert "state/saturated" not in _state(tops, "identity")


def run(*specs: TrialSpec) -> tuple[Trainer, list[dict[str, float]]]:
    data = TaskData(specs[0].task, None, CPU, getattr(torch, specs[0].training.dtype))
    trainer, found = Trainer([TrainingState.start(spec) for spec in specs], data, CPU), []
    while trainer.live:
        for event in trainer.advance():
            assert not isinstance(event, Failed), event
            found += [{"step": event.step, **event.values}] if isinstance(event, Reported) and event.trial == 0 else []
    return trainer, found


def test_diagnostics_come_with_the_first_report_of_each_interval_and_with_the_last_report() -> None:
    _, reports = run(make_trial(steps=46, report_every=6, diagnose_every=10))
    assert [r["step"] for r in reports if "grad_t/00" in r] == [12, 24, 30, 42, 46]
    assert [r["step"] for r in reports] == [6, 12, 18, 24, 30, 36, 42, 46]


def test_small_nets_are_diagnosed_less_often() -> None:
    small = make_trial(steps=1000, report_every=50)
    large = make_trial(steps=1000, report_every=50, hidden_size=256, batch_size=1024)
    assert [step for step in range(50, 1001, 50) if is_due(small, step)] == [250, 500, 750, 1000]
    assert [step for step in range(50, 1001, 50) if is_due(large, step)] == list(range(100, 1001, 100))


def test_diagnostics_do_not_change_the_training() -> None:
    often, _ = run(make_trial(diagnose_every=1), make_trial(seed=1, diagnose_every=4))
    never, _ = run(make_trial(diagnose_every=1000), make_trial(seed=1, diagnose_every=1000))
    for i in range(2):
        for name, tensor in often.state(i).model.items():
            assert torch.equal(tensor, never.state(i).model[name]), name


@pytest.mark.parametrize("broken", ["gradient_norms", "_spectrum", "_state"])
def test_a_diagnostic_that_fails_does_not_fail_its_trial(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        raise RuntimeError("nobody foresaw this")

    monkeypatch.setattr(diagnostics, broken, fails)
    _, reports = run(make_trial(diagnose_every=4))
    assert [r["step"] for r in reports] == [4, 8, 12]
    names = {"gradient_norms": "grad_t/00", "_spectrum": "spectral/min", "_state": "state/rank"}
    for part, name in names.items():
        assert all((name in r) == (part != broken) for r in reports)


def test_a_diagnostic_that_is_not_finite_is_left_out_and_fails_no_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnostics, "_state", lambda *_: {"state/rank": torch.tensor([math.nan])})
    _, reports = run(make_trial(diagnose_every=4))
    assert len(reports) == 3
    assert not any("state/rank" in r for r in reports)


def test_a_last_state_without_gradient_has_no_ratio() -> None:
    spec = make_trial(kind="rnn", reflectors=None, steps=1, report_every=1)
    state = TrainingState.start(spec)
    state.model["head.weight"] *= 0
    (report,) = Trainer([state], TaskData(spec.task, None, CPU, torch.float32), CPU).advance()[:1]
    assert isinstance(report, Reported)
    assert report.values["grad/hT_norm"] == 0.0
    assert "grad/ratio" not in report.values
