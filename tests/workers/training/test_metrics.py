"""Losses and metrics against plain sums, with masks, lengths, chunks and carried states."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from workers.models import PackedModel, build, pack
from workers.spec.sweep import ModelSpec
from workers.tasks import METRICS, Sequences, Split, Task
from workers.tasks.copy_memory import Copy
from workers.tasks.language import LanguageTask, Streams
from workers.tasks.task import Loss, MetricDirections, Readout
from workers.tasks.vocabulary import Vocabulary
from workers.training import metrics
from workers.training.batches import Batch, TaskData
from workers.training.metrics import losses, scores

STEPS, CLASSES = 5, 3


class Drawn(Task):
    """Random sequences of every shape that a task may have."""

    loss: ClassVar[Loss] = "cross_entropy"
    metrics: ClassVar[MetricDirections] = {"loss": "minimize", "accuracy": "maximize"}

    name: str = "drawn"
    every: bool = False
    unequal: bool = False

    sequence_length = property(lambda self: STEPS)  # type: ignore[assignment]
    input_size = property(lambda self: 2)  # type: ignore[assignment]
    output_size = property(lambda self: CLASSES)  # type: ignore[assignment]
    baseline = property(lambda self: 1.0)  # type: ignore[assignment]

    @property
    def readout(self) -> Readout:
        return "every" if self.every else "last"

    def training_data(self, data_dir: Path | None) -> Sequences | None:
        return self.drawn(12)

    def held_out(self, split: Split, data_dir: Path | None) -> Sequences:
        return self.drawn(150)

    def drawn(self, count: int) -> Sequences:
        rng = np.random.default_rng(count)
        lengths = rng.integers(1, STEPS + 1, count) if self.unequal else np.full(count, STEPS)
        targets = self.targets(rng, (count, STEPS) if self.every else (count,))
        if self.every:
            beyond = np.arange(STEPS) >= lengths[:, None]
            targets[beyond | (rng.random((count, STEPS)) < 0.3)] = -100 if self.loss == "cross_entropy" else np.nan
        inputs = rng.standard_normal((count, STEPS, 2)).astype(np.float32)
        return Sequences(inputs, targets, lengths if self.unequal else None)

    def targets(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
        return rng.integers(0, CLASSES, shape)


class DrawnValues(Drawn):
    loss: ClassVar[Loss] = "mse"
    metrics: ClassVar[MetricDirections] = {"loss": "minimize", "error": "minimize"}

    def targets(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
        return rng.standard_normal((*shape, CLASSES)).astype(np.float32)


class Letters(LanguageTask):
    """One stream of 7 letters."""

    metrics: ClassVar[MetricDirections] = {"loss": "minimize", "bpc": "minimize", "perplexity": "minimize"}
    name: Literal["letters"] = "letters"
    size: int = 2_000

    sequence_length = property(lambda self: 6)  # type: ignore[assignment]
    vocabulary_size = property(lambda self: 7)  # type: ignore[assignment]
    baseline = property(lambda self: math.log(7))  # type: ignore[assignment]

    def streams(self, data_dir: Path | None) -> Streams:
        ids = np.random.default_rng(0).integers(0, 7, self.size)
        return Streams(Vocabulary(tuple("abcdefg")), ids, ids[: self.size // 2], ids[: self.size // 3])


def model_of(task: Task, trials: int = 2) -> PackedModel:
    spec = ModelSpec(hidden_size=4, reflectors=2)
    return pack([build(spec, task, dtype=torch.float64, seed=seed) for seed in range(trials)])


def data_of(task: Task) -> TaskData:
    return TaskData(task, None, torch.device("cpu"), torch.float64)


def plain_scores(task: Task, outputs: Tensor, targets: Tensor) -> dict[str, float]:
    """Compute the scores of one trial in a plain loop over all targets; outputs have shape (N, O) or (N, T, O)."""
    wrong, right, count, values = 0.0, 0, 0, 0
    each = targets.flatten() if task.loss == "cross_entropy" else targets.flatten(0, -2)
    for output, target in zip(outputs.flatten(0, -2), each, strict=True):
        if task.loss == "cross_entropy" and target != -100:
            wrong -= float(output.log_softmax(0)[target])
            right, count = right + int(output.argmax() == target), count + 1
        elif task.loss == "mse" and not target.isnan().any():
            wrong += float((output - target).square().sum())
            values += len(target)
    loss = wrong / (count or values)
    return {"loss": loss, "accuracy": right / max(count, 1), "error": math.sqrt(loss)}


TASKS = [
    kind(every=every, unequal=unequal)
    for kind in (Drawn, DrawnValues)
    for every in (False, True)
    for unequal in (False, True)
]


@pytest.mark.parametrize("task", TASKS, ids=repr)
def test_scores_are_plain_means_over_all_steps_with_a_target(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    model, held_out = model_of(task), data_of(task).validation
    packed = [None if t is None else t.expand(2, *t.shape) for t in held_out]
    outputs, _ = model.forward(packed[0], None, packed[2])  # type: ignore[arg-type]
    whole = scores(task, model, held_out)
    assert set(whole) == set(task.metrics)
    for k in range(2):
        wanted = plain_scores(task, outputs[k].detach(), held_out.targets)
        for name, value in whole.items():
            assert float(value[k]) == pytest.approx(wanted[name], rel=1e-12)
    monkeypatch.setattr(metrics, "VALUES_AT_ONCE", 1)
    for rows in (1, 7, 64):
        monkeypatch.setattr(metrics, "FEWEST_ROWS", rows)
        for name, value in scores(task, model, held_out).items():
            torch.testing.assert_close(value, whole[name], rtol=1e-12, atol=0)


@pytest.mark.parametrize("task", TASKS, ids=repr)
def test_the_loss_of_a_batch_is_its_score(task: Task) -> None:
    model, held_out = model_of(task), data_of(task).validation
    packed = [None if t is None else t.expand(2, *t.shape) for t in held_out]
    outputs, _ = model.forward(packed[0], None, packed[2])  # type: ignore[arg-type]
    loss = losses(task, outputs, packed[1])  # type: ignore[arg-type]
    torch.testing.assert_close(loss, scores(task, model, held_out)["loss"], rtol=1e-12, atol=0)
    assert all(g.isfinite().all() for g in torch.autograd.grad(loss.sum(), list(model.parameters.values())))


@pytest.mark.parametrize("task", [Drawn(every=True), DrawnValues(every=True)], ids=repr)
def test_masked_steps_have_no_effect(task: Task) -> None:
    targets = torch.from_numpy(task.drawn(4).targets)[None]
    outputs = torch.randn(1, 4, STEPS, CLASSES, requires_grad=True, generator=torch.Generator().manual_seed(0))
    masked = (targets == -100) if task.loss == "cross_entropy" else targets.isnan().all(-1)
    (gradient,) = torch.autograd.grad(losses(task, outputs, targets).sum(), outputs)
    assert masked.any()
    assert gradient[masked].eq(0).all()
    assert gradient[~masked].ne(0).all()
    other = torch.where(masked.unsqueeze(-1), 1e3, outputs)
    assert torch.equal(losses(task, other, targets), losses(task, outputs, targets))


def test_a_batch_without_any_target_has_loss_zero() -> None:
    targets = torch.full((1, 2, STEPS), -100)
    outputs = torch.randn(1, 2, STEPS, CLASSES, requires_grad=True)
    loss = losses(Drawn(every=True), outputs, targets)
    (gradient,) = torch.autograd.grad(loss.sum(), outputs)
    assert loss.item() == 0
    assert gradient.eq(0).all()


def test_recall_counts_the_last_ten_steps() -> None:
    task = Copy(length=3)
    model, held_out = model_of(task), data_of(task).test
    outputs, _ = model.forward(held_out.inputs.expand(2, -1, -1, -1))
    right = outputs.argmax(-1) == held_out.targets
    found = scores(task, model, held_out)
    assert found["recall"].tolist() == right[:, :, -10:].double().mean((1, 2)).tolist()
    assert set(found) == {"loss", "recall"}


@pytest.mark.parametrize("at_once", [1, 1_000, 2**22])
def test_a_carried_task_is_read_as_one_stream_of_32_rows(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    task = Letters()
    model, data = model_of(task), data_of(task)
    monkeypatch.setattr(metrics, "VALUES_AT_ONCE", at_once)
    found = scores(task, model, data.test)
    ids = torch.from_numpy(task.streams(None).test)
    steps = -(-(len(ids) - 1) // 32)
    total = torch.zeros(2, dtype=torch.float64)
    for start in range(0, len(ids) - 1, steps):
        row = ids[start : start + steps + 1]
        outputs, _ = model.forward(row[:-1].expand(2, 1, -1))
        each = functional.cross_entropy(outputs.flatten(0, 2), row[1:].repeat(2), reduction="none")
        total += each.detach().view(2, -1).sum(1)
    loss = total / (len(ids) - 1)
    torch.testing.assert_close(found["loss"], loss, rtol=1e-12, atol=0)
    torch.testing.assert_close(found["bpc"], loss / math.log(2), rtol=1e-12, atol=0)
    torch.testing.assert_close(found["perplexity"], loss.exp(), rtol=1e-12, atol=0)


def test_a_trial_scores_the_same_alone_as_in_a_pack() -> None:
    for task in (Letters(), Copy(length=3), Drawn(every=True, unequal=True)):
        both, alone = (
            scores(task, model_of(task), data_of(task).test),
            scores(task, model_of(task, 1), data_of(task).test),
        )
        for name, value in alone.items():
            assert both[name][0].item() == pytest.approx(value.item(), rel=1e-12)


def test_every_metric_can_be_scored() -> None:
    class All(Copy):
        metrics: ClassVar[MetricDirections] = METRICS

    found = scores(All(length=1), model_of(Copy(length=1)), data_of(Copy(length=1)).test)
    assert {name for name, value in found.items() if value.isfinite().all()} == set(METRICS)
    assert isinstance(data_of(Copy(length=1)).test, Batch)
