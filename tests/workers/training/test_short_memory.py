"""A pack for which memory is too short is halved and goes on; trials that have no place wait for one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.workers.examples import make_trial
from tests.workers.training.runs import CPU, assert_same_bits, run, trainer, values
from workers.training import pack_size
from workers.training.batches import TaskData
from workers.training.pack import StepOptions, TrainingPack
from workers.training.pack_size import trials_at_once
from workers.training.step_graph import StepGraph
from workers.training.trainer import Trainer
from workers.training.training_state import TrainingState

SPECS = [make_trial(seed=seed, lr=0.01 * (seed + 1)) for seed in range(5)]


def short_of(largest: int, monkeypatch: pytest.MonkeyPatch, *, at: int = 0, late: bool = False) -> list[int]:
    """Let steps of packs of more than ``largest`` trials run out of memory once a trial has done ``at`` steps.

    Args:
        largest: How many trials fit.
        monkeypatch: Undoes it.
        at: The steps that are done before.
        late: Fail while parameters are being changed, not before.

    Returns:
        A list to which the sizes of all packs are added.
    """
    sizes: list[int] = []
    made, gradients, update = TrainingPack.__init__, TrainingPack._gradients, TrainingPack._record

    def note(self: TrainingPack, states: Any, *arguments: Any) -> None:
        sizes.append(len(states))
        made(self, states, *arguments)

    def failing(kept: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: TrainingPack, *arguments: Any, **named: Any) -> Any:
            if len(self._done) > largest and max(self._done) >= at:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return kept(self, *arguments, **named)

        return call

    monkeypatch.setattr(TrainingPack, "__init__", note)
    monkeypatch.setattr(TrainingPack, "_record" if late else "_gradients", failing(update if late else gradients))
    return sizes


@pytest.mark.parametrize("at", [0, 6])
def test_a_pack_is_halved_until_it_fits_and_no_number_changes(at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = [trainer([spec]) for spec in SPECS]
    expected = [values(run(each), 0) for each in alone]
    sizes = short_of(2, monkeypatch, at=at)
    found = trainer(SPECS)
    events = run(found)
    assert max(sizes[1:]) == 2
    for i in range(len(SPECS)):
        assert_same_bits(found.state(i), alone[i].state(0))
        assert values(events, i) == expected[i]


def test_no_report_is_made_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    short_of(2, monkeypatch, at=6)
    events = run(trainer(SPECS))
    named = [(type(event).__name__, event.trial, event.step) for event in events]
    assert len(set(named)) == len(named) == len(SPECS) * 4


def test_a_trial_that_does_not_fit_by_itself_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    short_of(0, monkeypatch)
    with pytest.raises(torch.OutOfMemoryError):
        run(trainer(SPECS))


def test_a_trial_that_does_not_fit_with_a_graph_goes_on_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = values(run(trainer(SPECS[:1])), 0)
    gradients = TrainingPack._gradients

    def short(self: TrainingPack, *arguments: Any, **named: Any) -> Any:
        if self.options.graph and max(self._done) >= 6:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return gradients(self, *arguments, **named)

    monkeypatch.setattr(TrainingPack, "_gradients", short)
    data = TaskData(SPECS[0].task, None, CPU, torch.float32)
    found = Trainer([TrainingState.start(SPECS[0])], data, CPU, options=StepOptions(True, False, True))
    assert values(run(found), 0) == expected
    assert not found._pack.options.graph


def test_a_step_that_was_stopped_halfway_is_not_continued(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = short_of(2, monkeypatch, late=True)
    with pytest.raises(torch.OutOfMemoryError):
        run(trainer(SPECS))
    assert sizes == [5]


def test_other_errors_are_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("an illegal memory access was encountered")

    monkeypatch.setattr(TrainingPack, "step", broken)
    with pytest.raises(RuntimeError, match="illegal"):
        run(trainer(SPECS))


def test_a_failure_before_memory_ran_out_is_reported_at_its_step(monkeypatch: pytest.MonkeyPatch) -> None:
    short_of(2, monkeypatch, at=6)
    found = trainer(SPECS)
    events = found.advance()
    with torch.no_grad():
        found._pack._model.parameters["head.weight"][3] = torch.nan
    events = run(found)
    assert [(e.trial, e.step) for e in events if type(e).__name__ == "Failed"] == [(3, 5)]


def test_waiting_trials_can_be_ended_and_have_their_state() -> None:
    data = TaskData(SPECS[0].task, None, CPU, torch.float32)
    found = Trainer([TrainingState.start(spec) for spec in SPECS], data, CPU, largest=2)
    found.advance()
    assert [found.step_of(i) for i in range(5)] == [4, 4, 0, 0, 0]
    assert found.state(4).step == 0
    found.end(4)
    run(found)
    assert [found.step_of(i) for i in range(5)] == [12, 12, 12, 12, 0]


class Timed:
    """Stands for a GPU on which packs up to ``best`` trials pay, and up to ``fit`` trials fit."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Any, *, best: int, fit: int = 10**6) -> None:
        self.best, self.fit, self.tried = best, fit, []  # type: list[int]
        self.memory = 1_000 + 10 * fit
        monkeypatch.setattr(pack_size, "SHARE", 1.0)
        monkeypatch.setattr(pack_size, "_time_and_memory", self.time)
        monkeypatch.setattr(pack_size, "_memory", lambda _: self.memory)
        monkeypatch.setattr(pack_size, "_file", lambda spec, _: tmp_path / f"{hash(spec.shape_key)}.json")

    def time(self, state: TrainingState, size: int, *_: Any) -> tuple[float, int] | None:
        self.tried.append(size)
        return (max(1.0, size / self.best), 1_000 + 10 * size) if size <= self.fit else None

    def size(self, count: int) -> int:
        states = [TrainingState.start(SPECS[0])] * count
        return trials_at_once(states, None, torch.device("cuda", 0))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("count", "best", "fit", "size"),
    [(3, 1, 1, 3), (40, 16, 10**6, 14), (40, 10**6, 10**6, 40), (40, 10**6, 12, 10), (9, 10**6, 2, 2), (5, 1, 9, 1)],
)
def test_as_many_trials_as_pay_and_fit_are_trained_at_once(
    count: int, best: int, fit: int, size: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    assert Timed(monkeypatch, tmp_path, best=best, fit=fit).size(count) == size


def test_a_trial_run_is_made_once_for_the_packs_of_a_shape(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    device = Timed(monkeypatch, tmp_path, best=8)
    assert device.size(32) == 8
    tried = list(device.tried)
    assert tried == [1, 2, 4, 8, 16]
    assert device.size(24) == 8
    assert device.tried == tried
    device.memory = 1_000 + 30  # another process has taken the rest
    assert device.size(24) == 3
    grown = Timed(monkeypatch, tmp_path / "other", best=10**6)
    assert grown.size(8) == 8
    assert grown.size(20) == 20, "a measurement that ended with its trials says nothing about more of them"


def test_a_graph_is_no_matter_where_there_is_no_gpu() -> None:
    calls: list[bool] = []
    graph = StepGraph(CPU, wanted=True)
    for probe in (False, True):
        graph.run(calls.append, lambda: pytest.fail("not needed"), probe=probe)
    assert calls == [False, True]
    assert not graph.captured
    graph.release()
