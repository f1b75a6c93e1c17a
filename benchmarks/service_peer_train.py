"""One trial as a plain training function, as a user of Ray Tune writes it. Its numbers must equal ours."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.service_peer_nets import NETS, PlainSpectral
from workers.tasks import Sequences, Task
from workers.training.batches import FRESH_STREAM, ShuffledOrder

Point = dict[str, float]
ReportCallback = Callable[[Point, PlainSpectral, torch.optim.Optimizer], None]
LARGEST_SINGULAR_RATE = 0.1


class Settings(NamedTuple):
    """What all trials of the sweep have in common: the kind of net, a key of NETS, and the training options."""

    kind: str
    steps: int
    batch: int
    report_every: int
    lr: float
    clip: float
    dtype: str


class Data(NamedTuple):
    """The data of a task; ``train`` is None if every step draws new sequences."""

    task: Task
    train: Sequences | None
    validation: Sequences
    test: Sequences


class PeerStopwatch:
    """A stopwatch for the seconds spent in training steps and in scoring."""

    def __init__(self) -> None:
        self.training = self.scoring = 0.0

    @contextmanager
    def measure(self, what: str) -> Iterator[None]:
        """Add the time of a ``with`` block to ``training`` or ``scoring``."""
        started = time.perf_counter()
        yield
        setattr(self, what, getattr(self, what) + time.perf_counter() - started)


def train(
    config: Mapping[str, Any],
    settings: Settings,
    start: Mapping[str, np.ndarray[Any, Any]],
    data: Data,
    report: ReportCallback,
) -> None:
    """Train one trial.

    Args:
        config: Its reflectors, margin and seed.
        settings: Settings of all trials.
        start: Initial parameters.
        data: Data of the task.
        report: Function that is called with the metrics every ``report_every`` steps.
    """
    torch.set_num_threads(1)
    net, watch, total = NETS[settings.kind](_start(start, settings), config["margin"]), PeerStopwatch(), 0.0
    adam, batches = _adam(net, settings.lr, config["margin"]), Batches(data, config["seed"], settings)
    scorer = Scorer(net, data, settings)
    for step in range(1, settings.steps + 1):
        with watch.measure("training"):
            total += _step(net, adam, data.task, *batches.of(step - 1), settings.clip)
        if step % settings.report_every and step < settings.steps:
            continue
        with watch.measure("scoring"):
            point = scorer.report(last=step == settings.steps)
        since = step % settings.report_every or settings.report_every
        point |= {"step": step, "train/loss": total / since, "training_s": watch.training, "scoring_s": watch.scoring}
        total = 0.0
        report(point, net, adam)


def _start(start: Mapping[str, np.ndarray[Any, Any]], settings: Settings) -> dict[str, Tensor]:
    return {name: torch.tensor(value, dtype=getattr(torch, settings.dtype)) for name, value in start.items()}


def _adam(net: PlainSpectral, lr: float, margin: float) -> torch.optim.Adam:
    """Return Adam with the rate lr / margin for the raw singular values, whose map has the slope margin / 2."""
    others: list[Any] = [p for name, p in net.named_parameters() if name != "raw"]
    rate = max(lr, min(lr / margin, LARGEST_SINGULAR_RATE))
    groups: list[dict[str, Any]] = [{"params": others}, {"params": [net.raw], "lr": rate}]
    return torch.optim.Adam(groups, lr)


def _step(
    net: PlainSpectral, adam: torch.optim.Adam, task: Task, inputs: Tensor, targets: Tensor, clip: float
) -> float:
    adam.zero_grad()
    loss = _loss(task, net(inputs), targets)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(net.parameters(), clip)
    adam.step()
    net.normalise()
    return loss.item()


class Batches:
    """Makes the batches of one trial, the same as our trial of that seed gets."""

    def __init__(self, data: Data, seed: int, settings: Settings) -> None:
        self._task, self._seed, self._size = data.task, seed, settings.batch
        self._dtype = getattr(torch, settings.dtype)
        self._train = None if data.train is None else _tensors(data.task, data.train, self._dtype)
        self._order = ShuffledOrder(seed, self._size if data.train is None else len(data.train), self._size)

    def of(self, step: int) -> tuple[Tensor, Tensor]:
        """Return inputs and targets of the batch of a step."""
        if self._train is None:
            fresh = self._task.fresh(np.random.default_rng([FRESH_STREAM, self._seed, step]), self._size)
            return _tensors(self._task, fresh, self._dtype)
        index = torch.from_numpy(self._order.indices(step))
        return self._train[0][index], self._train[1][index]


def _tensors(task: Task, sequences: Sequences, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Copy sequences to tensors; arrays from Ray's object store are read-only."""
    inputs, targets = torch.tensor(sequences.inputs, dtype=dtype), torch.tensor(sequences.targets)
    return inputs, targets if task.loss == "cross_entropy" else targets.to(dtype)


def _loss(task: Task, outputs: Tensor, targets: Tensor) -> Tensor:
    return (functional.cross_entropy if task.loss == "cross_entropy" else functional.mse_loss)(outputs, targets)


ROWS_AT_ONCE = 2**22
"""Values (sequences x steps x units) that are scored at once, the same number as ours."""


class Scorer:
    """Scores on the validation set at every report, and on the test set at the last, with the best parameters."""

    def __init__(self, net: PlainSpectral, data: Data, settings: Settings) -> None:
        self._net, self._task = net, data.task
        dtype = getattr(torch, settings.dtype)
        self._validation, self._test = (_tensors(data.task, part, dtype) for part in (data.validation, data.test))
        self._best, self._kept = float("inf"), self._copy()

    def report(self, *, last: bool) -> Point:
        """Return the metrics of a report, with those of the test set if it is the last."""
        found = self._score(*self._validation)
        if found["loss"] < self._best:
            self._best, self._kept = found["loss"], self._copy()
        point = {f"val/{name}": value for name, value in found.items()}
        if last:
            now = self._copy()
            self._net.load_state_dict(self._kept)
            point |= {f"test/{name}": value for name, value in self._score(*self._test).items()}
            self._net.load_state_dict(now)
        return point

    def _copy(self) -> dict[str, Tensor]:
        return {name: p.detach().clone() for name, p in self._net.state_dict().items()}

    @torch.no_grad()
    def _score(self, inputs: Tensor, targets: Tensor) -> Point:
        chunk, total, right = max(64, ROWS_AT_ONCE // (inputs.shape[1] * self._net.raw.shape[0])), 0.0, 0
        for start in range(0, len(inputs), chunk):
            x, y = inputs[start : start + chunk], targets[start : start + chunk]
            outputs = self._net(x)
            total += float(_loss(self._task, outputs, y)) * len(x)
            right += int((outputs.argmax(-1) == y).sum()) if "accuracy" in self._task.metrics else 0
        found = {"loss": total / len(inputs)}
        return found | ({"accuracy": right / len(inputs)} if "accuracy" in self._task.metrics else {})
