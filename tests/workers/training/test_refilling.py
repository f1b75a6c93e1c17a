"""Trials through pruning, compaction, refill and moves between packs, against the same trials alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spectral.cpu import library
from tests.workers.examples import make_trial
from tests.workers.models.networks import trial
from tests.workers.training.runs import CPU, assert_same_bits, run, tensors, trainer, values
from tests.workers.training.test_any_pack import companies, shared
from workers.checkpoints import CheckpointFolder
from workers.spec.model import KINDS
from workers.spec.trial import TrialSpec
from workers.training.batches import TaskData
from workers.training.pack import StepOptions, TrainingPack
from workers.training.trainer import Trainer
from workers.training.trainer_events import Failed, Finished, Reported, TrainerEvent
from workers.training.training_state import TrainingState

COMPILED = pytest.mark.skipif(
    not library.available(torch.device("cpu"), torch.float32), reason="needs the compiled code, and so a compiler"
)
EXAMPLES = settings(max_examples=3, deadline=None)


@dataclass
class _Pack:
    """A trainer, and which trial each of its numbers is."""

    trainer: Trainer
    trials: list[int]
    events: list[TrainerEvent] = field(default_factory=list)

    def add(self, trial: int, state: TrainingState) -> None:
        assert self.trainer.add(state) == len(self.trials)
        self.trials.append(trial)

    @property
    def live(self) -> list[int]:
        return [self.trials[i] for i in self.trainer.live]

    def take(self, trial: int) -> TrainingState:
        """End a trial here, and return its state."""
        number = max(i for i, own in enumerate(self.trials) if own == trial)
        self.trainer.end(number)
        return self.trainer.state(number)


@dataclass
class _Swarm:
    """Some trials in two packs: each is pruned, moved, or trained to its end, as ``choose`` says."""

    specs: Sequence[TrialSpec]
    choose: Any
    packs: list[_Pack]
    ended: dict[int, TrainingState] = field(default_factory=dict)
    failures: dict[int, tuple[int, str]] = field(default_factory=dict)
    moves: int = 0

    def run(self) -> None:
        """Train until every trial has ended. Waiting trials are added to a pack one by one, at any step."""
        waiting = list(range(sum(len(pack.trials) for pack in self.packs), len(self.specs)))
        turn = 0
        while waiting or any(pack.live for pack in self.packs):
            own, other = self.packs[turn % 2], self.packs[(turn + 1) % 2]
            turn += 1
            stop_after = self.choose(st.integers(1, 5))
            calls = iter(range(10**6))
            found = own.trainer.advance(lambda calls=calls, stop_after=stop_after: next(calls) + 1 >= stop_after)  # type: ignore[misc]
            own.events += found
            for event in found:
                if isinstance(event, Finished):
                    self.ended[own.trials[event.trial]] = own.trainer.state(event.trial)
                elif isinstance(event, Failed):
                    self.failures[own.trials[event.trial]] = (event.step, event.reason)
            for number in own.live:
                fate = self.choose(st.sampled_from(["stays", "stays", "stays", "pruned", "moves"]))
                if fate == "pruned":
                    self.ended[number] = own.take(number)
                elif fate == "moves" and self.moves < 6:
                    self.moves += 1
                    other.add(number, own.take(number))
            if waiting and (self.choose(st.booleans()) or not any(pack.live for pack in self.packs)):
                number = waiting.pop(0)
                own.add(number, TrainingState.start(self.specs[number]))

    def values(self, number: int) -> dict[int, dict[str, float]]:
        """Return the metrics of a trial by step, from both packs."""
        found: dict[int, dict[str, float]] = {}
        for pack in self.packs:
            for i, own in enumerate(pack.trials):
                if own == number:
                    found |= values(pack.events, i)
        return found


def swarm(specs: Sequence[TrialSpec], choose: Any, options: StepOptions | None = None) -> _Swarm:
    """Begin with a pack of two trials and one of a single one; the others wait."""
    data = TaskData(specs[0].task, None, CPU, getattr(torch, specs[0].training.parameter_dtype))
    packs = []
    for trials in ([0, 1], [2]):
        states = [TrainingState.start(specs[i]) for i in trials]
        packs.append(_Pack(Trainer(states, data, CPU, options=options), list(trials)))
    found = _Swarm(specs, choose, packs)
    found.run()
    return found


def alone(spec: TrialSpec, steps: int) -> tuple[TrainingState, dict[int, dict[str, float]]]:
    """Train a trial by itself for some steps."""
    found, events, done = trainer([spec]), [], iter(range(1, 10**6))
    while found.live and found.step_of(0) < steps:
        events += found.advance(lambda: next(done) >= steps)
    return found.state(0), values(events, 0)


def failure_alone(spec: TrialSpec) -> tuple[tuple[int, str], dict[int, dict[str, float]]]:
    """Train a trial that diverges by itself."""
    events = run(trainer([spec]))
    (failed,) = [event for event in events if isinstance(event, Failed)]
    return (failed.step, failed.reason), values(events, 0)


@COMPILED
@pytest.mark.parametrize("kind", sorted(KINDS))
@EXAMPLES
@given(data=st.data())
def test_a_trial_has_the_bits_of_a_solo_run_through_prune_compaction_refill_and_moves(
    kind: str, data: st.DataObject
) -> None:
    fields = data.draw(shared()) | {"dtype": data.draw(st.sampled_from(["float32", "float64"]))}
    if "mlp" in kind or "resnet" in kind:  # they have no state at every step
        fields.pop("task", None)
    members = [own for _ in range(2) for own in data.draw(companies(kind, fields["hidden_size"]))]
    specs = [trial(kind, **fields, **(own | {"seed": seed})) for seed, own in enumerate(members)]
    options = data.draw(st.sampled_from([None, StepOptions(fed=True, fused=False, graph=False)]))
    found = swarm(specs, data.draw, options)
    for i, spec in enumerate(specs):
        if i in found.failures:
            assert (found.failures[i], found.values(i)) == failure_alone(spec)
            continue
        state, wanted = alone(spec, found.ended[i].step)
        assert found.values(i) == wanted
        assert_same_bits(found.ended[i], state)


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_in_float64_a_trial_equals_a_solo_run_to_1e_12_without_compiled_code(data: st.DataObject) -> None:
    fields = {"hidden_size": 6, "optimizer": "sgd", "steps": 4, "report_every": 2, "dtype": "float64", "lr": 0.01}
    members = [own for _ in range(3) for own in data.draw(companies("spectral_rnn", 6))]
    specs = [make_trial(**(own | fields | {"seed": seed, "reflectors": None})) for seed, own in enumerate(members)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(library, "available", lambda *_: False)
        found = swarm(specs, data.draw)
        for i, spec in enumerate(specs):
            state, wanted = alone(spec, found.ended[i].step)
            assert found.values(i).keys() == wanted.keys()
            for step, metrics in wanted.items():
                assert found.values(i)[step] == pytest.approx(metrics, rel=1e-12, abs=1e-14)
            for name, tensor in tensors(state).items():
                torch.testing.assert_close(tensors(found.ended[i])[name], tensor, rtol=1e-12, atol=1e-14)


SPECS = [make_trial(seed=seed, lr=0.01 * (seed + 1), reflectors=1 + seed % 3) for seed in range(6)]


def made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list to which the sizes of all packs are added that are made from now on."""
    sizes: list[int] = []
    make = TrainingPack.__init__

    def note(self: TrainingPack, states: Any, *arguments: Any) -> None:
        sizes.append(len(states))
        make(self, states, *arguments)

    monkeypatch.setattr(TrainingPack, "__init__", note)
    return sizes


def test_a_free_row_is_taken_in_place_and_no_pack_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = made(monkeypatch)
    found = trainer([SPECS[2], SPECS[1], SPECS[0]])
    places = {name: p.data_ptr() for name, p in found._pack._model.parameters.items()}
    events = found.advance()
    found.end(1)
    found.end(2)
    for spec in (SPECS[3], SPECS[4]):
        found.add(TrainingState.start(spec))
    while found.live:
        events += found.advance()
    assert sizes == [3]
    assert {name: p.data_ptr() for name, p in found._pack._model.parameters.items()} == places
    for number, spec in ((0, SPECS[2]), (3, SPECS[3]), (4, SPECS[4])):
        state, wanted = alone(spec, 12)
        assert values(events, number) == wanted
        assert_same_bits(found.state(number), state)


def test_a_trial_for_which_rows_have_no_room_gets_a_new_pack(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = made(monkeypatch)
    found = trainer([SPECS[0], SPECS[3]])
    events = found.advance()
    found.end(1)
    found.add(TrainingState.start(SPECS[2]))  # it has more reflectors
    events += found.advance()
    assert sizes == [2, 2]
    found.add(TrainingState.start(SPECS[4]))  # there is no free row
    events += found.advance()
    assert sizes == [2, 2, 3]
    clipped = make_trial(seed=9, clip_norm=None, reflectors=1)
    found.end(2)
    found.end(3)
    found.add(TrainingState.start(clipped))
    assert_same_bits_at_the_end(found, events, {4: clipped})


def assert_same_bits_at_the_end(found: Trainer, events: list[TrainerEvent], specs: dict[int, TrialSpec]) -> None:
    while found.live:
        events += found.advance()
    for number, spec in specs.items():
        state, wanted = alone(spec, spec.training.steps)
        assert values(events, number) == wanted
        assert_same_bits(found.state(number), state)


def test_trials_that_enter_report_together_with_the_others() -> None:
    found, calls = trainer(SPECS[:2]), iter(range(1, 100))
    assert not found.advance(lambda: next(calls) == 3)
    found.add(TrainingState.start(SPECS[2]))
    assert {event.trial for event in found.advance()} == {0, 1}
    assert found.step_of(2) == 0
    reports = found.advance()
    assert [(e.trial, e.step) for e in reports if isinstance(e, Reported)] == [(0, 8), (1, 8), (2, 4)]


def test_a_trial_between_two_reports_enters_when_another_is_as_far() -> None:
    calls = iter(range(1, 100))
    ahead = trainer([SPECS[1]])
    ahead.advance(lambda: next(calls) == 3)
    ahead.end(0)
    found = trainer(SPECS[:1])
    found.add(ahead.state(0))
    assert found.advance() == []
    assert (found.step_of(0), found.step_of(1)) == (3, 3)
    assert [(e.trial, e.step) for e in found.advance() if isinstance(e, Reported)] == [(0, 4), (1, 4)]


def test_a_pack_whose_trials_have_all_ended_goes_on_with_others(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = made(monkeypatch)
    found, events = trainer(SPECS[:2]), []
    while found.live:
        events += found.advance()
    assert found.advance() == []
    for spec in (SPECS[2], SPECS[3]):
        found.add(TrainingState.start(spec))
    events += found.advance()
    assert sizes == [2, 2]
    assert_same_bits_at_the_end(found, events, {2: SPECS[2], 3: SPECS[3]})


def test_a_trial_that_is_done_already_is_not_trained() -> None:
    done, _ = alone(SPECS[0], 12)
    found = trainer([SPECS[1]])
    assert found.add(done) == 1
    assert found.live == [0]


def test_a_trial_moves_through_a_checkpoint(tmp_path: Any) -> None:
    first, second = trainer(SPECS[:3]), trainer(SPECS[3:5])
    for found in (first, second):
        found.advance()
    second.advance()
    first.end(1)
    folder = CheckpointFolder(tmp_path, SPECS[1])
    first.state(1).save(folder)
    assert second.add(TrainingState.resume(folder, SPECS[1])) == 2
    assert_same_bits_at_the_end(second, [], {})
    state, _ = alone(SPECS[1], 12)
    assert_same_bits(second.state(2), state)


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop"])
def test_the_fused_kernels_go_on_with_a_trial_that_was_put_in_place(
    optimizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes, own = made(monkeypatch), {"optimizer": optimizer, "steps": 4, "report_every": 2, "weight_decay": 0.1}
    specs = [make_trial(seed=seed, lr=0.01 * (seed + 1), schedule="cosine", **own) for seed in range(3)]
    data = TaskData(specs[0].task, None, CPU, torch.float32)

    def fused(chosen: Sequence[TrialSpec]) -> Trainer:
        states = [TrainingState.start(spec) for spec in chosen]
        return Trainer(states, data, CPU, options=StepOptions(fed=True, fused=True, graph=False))

    found = fused(specs[:2])
    events = found.advance()
    found.end(0)
    found.add(TrainingState.start(specs[2]))
    events += found.advance()
    assert sizes == [2]
    while found.live:
        events += found.advance()
    for number, spec in ((1, specs[1]), (2, specs[2])):
        solo = fused([spec])
        wanted = []
        while solo.live:
            wanted += solo.advance()
        assert values(events, number) == values(wanted, 0)
        assert_same_bits(found.state(number), solo.state(0))
