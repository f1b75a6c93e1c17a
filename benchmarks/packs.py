"""Benchmark P4: sixteen trials on one core, ours in packs, torch.nn.RNN one by one. See docs/benchmarks.md.

python -m benchmarks.packs [--quick] [--profile] [--write docs/benchmarks.md]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from benchmarks import laws, machine, results, step_profile, timing
from benchmarks.results import Row, row
from workers.runtime.pack_planner import plan
from workers.spec.expand import plan_trials
from workers.spec.sweep import SweepSpec
from workers.spec.trial import TrialSpec
from workers.training.batches import TaskData
from workers.training.pack import TrainingPack
from workers.training.training_state import TrainingState

TRIALS = 16
SIZES = (1, 2, 4, 8, 16)
BATCH = 32
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Case:
    """A sweep over four counts of reflectors and four margins.

    Attributes:
        n: Hidden size.
        T: Steps of a sequence.
        counts: Counts of reflectors.
        steps: Training steps of each trial in one sample.
        bound: How many times faster than nn.RNN the planner's packs must be.
    """

    n: int
    T: int
    counts: tuple[int, int, int, int]
    steps: int
    bound: float

    def __str__(self) -> str:
        return results.shape(n=self.n, T=self.T, B=BATCH, m=",".join(map(str, self.counts)))

    def trials(self) -> list[TrialSpec]:
        """Return the trials; their margins are so small that none diverges while it is timed."""
        space = {
            "model.reflectors": {"values": list(self.counts)},
            "model.margin": {"values": [0.001, 0.003, 0.01, 0.03]},
        }
        document = {
            "task": {"name": "adding", "length": self.T},
            "model": {"hidden_size": self.n},
            "training": {"steps": 1_000_000, "batch_size": BATCH},
            "space": space,
        }
        sweep = SweepSpec.model_validate(document)
        return [plan.require_spec() for plan in plan_trials(sweep)]


CASES = (
    Case(32, 100, (2, 4, 6, 8), 4, 8.0),
    Case(128, 784, (4, 8, 12, 16), 1, 6.0),
    Case(512, 100, (4, 8, 12, 16), 1, 11.0),
)
QUICK = (Case(32, 20, (2, 4, 6, 8), 1, 6.0),)


def main() -> None:
    """Run the benchmark and save its results."""
    options = _options()
    header = machine.describe("numpy") | {"torch threads": "1"}
    # else the gradients of nn.RNN vanish in numbers that processors take a hundred times longer for
    torch.set_flush_denormal(True)
    if not options.trust:
        laws.require_law_suite({"native", "native_dense"})
    cases, rows = QUICK if options.quick else CASES, []
    for case in cases:
        rows += measure(case, options.rounds)
        print(f"  {case}: {next(line.ratio for line in rows if line.shape == str(case)):.3g} times nn.RNN", flush=True)
    path = options.out / ("bench-quick.json" if options.quick else "bench.json")
    results.save(rows, header, path)
    results.show(rows, header)
    if options.write and not options.quick:
        results.write_section(options.write, "bench", path)
    for case in cases if options.profile else ():
        step_profile.show(str(case), {f"K={size}": _packs(case, size) for size in SIZES})


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.packs", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="tiny sizes, to show that everything runs; the times mean nothing"
    )
    parser.add_argument("--trust", action="store_true", help="do not run the law suite first")
    parser.add_argument("--profile", action="store_true", help="also show where the time of a step goes")
    parser.add_argument("--rounds", type=int, default=7, help="samples of each contender")
    results.add_options(parser)
    return parser.parse_args()


def measure(case: Case, rounds: int) -> list[Row]:
    """Return a row for the planner's packs with P4's bound, and one for every size of pack to judge the planner by."""
    chosen = [len(pack) for pack in plan(case.trials(), "auto", 1, 0.0)]
    torch.manual_seed(0)
    contenders = {"planner": _ours(case, max(chosen)), "nn.RNN": _theirs(case)}
    contenders |= {f"K={size}": _ours(case, size) for size in SIZES}
    with timing.threads(1):
        samples = timing.interleave(contenders, rounds)
    count = TRIALS * case.steps
    peer = 1e3 * timing.median(samples["nn.RNN"]) / count
    rows = []
    for name in contenders:
        if name == "nn.RNN":
            continue
        ours, faster = 1e3 * timing.median(samples[name]) / count, timing.ratio(samples["nn.RNN"], samples[name])
        what = f"the planner's packs ({', '.join(map(str, chosen))})" if name == "planner" else name
        method = f"CPU ms a trial and step, {what}; nn.RNN one by one over ours"
        id, bound = ("P4", case.bound) if name == "planner" else ("P4-sizes", None)
        rows.append(row(id, str(case), ours, peer, faster, method, at_least=bound))
    return rows


def _packs(case: Case, size: int) -> list[TrainingPack]:
    trials = case.trials()
    data = TaskData(trials[0].task, None, CPU, torch.float32)
    packs = plan(trials, size, 1, 0.0)
    return [TrainingPack([TrainingState.start(trials[i]) for i in pack], data, CPU) for pack in packs]


def _ours(case: Case, size: int) -> timing.Contender:
    """Return a function that takes ``case.steps`` steps of every trial, pack by pack, as the trainer does."""
    packs = _packs(case, size)

    def run() -> None:
        for pack in packs:
            for _ in range(case.steps):
                pack.step(probe=False)

    return run


class Baseline:
    """One trial with torch.nn.RNN and torch.optim.Adam; batches, clipping and readout are the same as ours."""

    def __init__(self, trial: TrialSpec, data: TaskData) -> None:
        task, training = trial.task, trial.training
        self._recurrent = nn.RNN(task.input_size, trial.model.hidden_size, nonlinearity="relu", batch_first=True)
        self._head = nn.Linear(trial.model.hidden_size, task.output_size)
        self._parameters = [*self._recurrent.parameters(), *self._head.parameters()]
        self._adam = torch.optim.Adam(self._parameters, training.lr)
        self._data, self._seed, self._batch, self._clip = data, training.seed, training.batch_size, training.clip_norm
        self._order, self._done = data.order(training.seed, training.batch_size), 0

    def step(self) -> None:
        """Take one training step."""
        batch = self._data.batch([self._order], [self._seed], [self._done], self._batch)
        self._done += 1
        self._adam.zero_grad()
        _, last = self._recurrent(batch.inputs[0])
        loss = nn.functional.mse_loss(self._head(last[0]), batch.targets[0])
        loss.backward()  # type: ignore[no-untyped-call]
        if self._clip is not None:
            nn.utils.clip_grad_norm_(self._parameters, self._clip)
        self._adam.step()


def _theirs(case: Case) -> timing.Contender:
    trials = case.trials()
    data = TaskData(trials[0].task, None, CPU, torch.float32)
    nets: Sequence[Baseline] = [Baseline(trial, data) for trial in trials]

    def run() -> None:
        for net in nets:
            for _ in range(case.steps):
                net.step()

    return run


if __name__ == "__main__":
    main()
