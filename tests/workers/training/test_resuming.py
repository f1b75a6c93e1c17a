"""Interrupted training against undisturbed training, and trials at different steps in one pack."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.workers.examples import make_trial
from tests.workers.training.runs import assert_same_bits, run, trainer, values
from workers.checkpoints import CheckpointFolder
from workers.spec.trial import TrialSpec
from workers.training.optimizers import OPTIMIZERS
from workers.training.trainer_events import Reported, TrainerEvent
from workers.training.training_state import TrainingState


@pytest.mark.parametrize("stop_at", range(1, 12))
def test_interrupted_and_resumed_equals_undisturbed_bit_for_bit(stop_at: int, tmp_path: Path) -> None:
    specs = [make_trial(seed=s, reflectors=s + 1, schedule="cosine") for s in range(2)]
    undisturbed = trainer(specs)
    wanted = run(undisturbed)

    first, done = trainer(specs), 0

    def stop() -> bool:
        nonlocal done
        done += 1
        return done >= stop_at

    events: list[TrainerEvent] = []
    while done < stop_at:
        events += first.advance(stop)
    stores = [CheckpointFolder(tmp_path / str(i), spec) for i, spec in enumerate(specs)]
    for event in events:  # best ones are checkpointed as they come; here only the last would be
        if isinstance(event, Reported) and event.best and event.step < stop_at:
            _best_on_disk(specs[event.trial], stores[event.trial], event.step)
    for i, store in enumerate(stores):
        first.state(i).save(store)
    second = trainer(specs, [TrainingState.resume(store, spec) for store, spec in zip(stores, specs, strict=True)])
    assert [second.step_of(i) for i in range(2)] == [stop_at, stop_at]
    events += run(second)
    for i in range(2):
        assert values(events, i) == values(wanted, i)
        assert_same_bits(second.state(i), undisturbed.state(i))


@pytest.mark.parametrize("optimizer", list(OPTIMIZERS))
def test_every_optimizer_resumes_from_a_checkpoint_bit_for_bit(optimizer: str, tmp_path: Path) -> None:
    specs = [
        make_trial(seed=s, optimizer=optimizer, schedule="step", warmup_steps=6, lr=0.003 * 3**s) for s in range(2)
    ]
    undisturbed, first, calls = trainer(specs), trainer(specs), iter(range(100))
    run(undisturbed)
    while first.step_of(0) < 7:
        first.advance(lambda: next(calls) >= 6)
    stores = [CheckpointFolder(tmp_path / str(i), spec) for i, spec in enumerate(specs)]
    for i, store in enumerate(stores):
        first.state(i).save(store)
    second = trainer(specs, [TrainingState.resume(store, spec) for store, spec in zip(stores, specs, strict=True)])
    assert second.step_of(0) == 7
    run(second)
    for i in range(2):
        assert_same_bits(second.state(i), undisturbed.state(i))


def _best_on_disk(spec: TrialSpec, store: CheckpointFolder, step: int) -> None:
    again = trainer([spec])
    while again.step_of(0) < step:
        again.advance()
    again.state(0).save(store)


def test_trials_at_different_steps_share_a_pack() -> None:
    specs = [make_trial(seed=s) for s in range(3)]
    together = trainer(specs)
    wanted = run(together)
    ahead = trainer(specs[:2])
    ahead.advance()
    mixed = trainer(specs, [ahead.state(0), TrainingState.start(specs[1]), TrainingState.start(specs[2])])
    events = run(mixed)
    for i in range(3):
        assert values(events, i) == {step: v for step, v in values(wanted, i).items() if i or step > 4}
        assert_same_bits(mixed.state(i), together.state(i))
