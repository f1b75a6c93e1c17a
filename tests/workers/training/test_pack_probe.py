"""What a trial run of a pack measures."""

from __future__ import annotations

import pytest

from tests.workers.examples import sweep_document
from workers.spec.expand import plan_trials
from workers.spec.parse import parse_sweep
from workers.training import pack_probe


class SlowAtFirst:
    """A pack of which each measurement takes ten seconds of a clock for the first time, and then one."""

    def __init__(self) -> None:
        self.now = 0.0
        self._known: set[str] = set()

    def _take(self, what: str) -> None:
        self.now += 1.0 if what in self._known else 10.0
        self._known.add(what)

    def evaluate(self, split: str) -> None:
        self._take(split)

    def evaluate_best(self) -> None:
        self._take("best")

    def diagnose(self) -> None:
        self._take("diagnoses")


def test_the_first_evaluation_which_gets_its_memory_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    pack = SlowAtFirst()
    monkeypatch.setattr(pack_probe, "interval", lambda trial: 40)
    training = {"steps": 80, "batch_size": 4, "report_every": 20, "checkpoint_every": 20, "lr": 0.01}
    trial = plan_trials(parse_sweep(sweep_document(training=training)))[0].require_spec()
    # the validation set at each of four reports, the test set once, and diagnoses at every other report
    assert pack_probe._evaluation_seconds(pack, trial, lambda: pack.now) == 1.0 + 1.0 / 4 + 1.0 / 2  # type: ignore[arg-type]
