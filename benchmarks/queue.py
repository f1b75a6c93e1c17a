"""Benchmark Q1-Q3: what one decision of the queue costs on a cluster of 1,000 GPUs while 100,000 trials wait. No Ray.

python -m benchmarks.queue [--quick] [--write docs/benchmarks.md]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

from benchmarks import machine, results
from benchmarks.results import Row, row, shape
from service.controller.fair_share import FairShare, QueuedSweep, QueueRules
from service.controller.launching import MOST_STARTS
from service.controller.node import Needs, Node
from service.controller.node_room import OpenPack

MOST_MILLISECONDS = 50.0
"""What a decision may cost."""
TRIALS_OF_A_PACK = 16
KINDS = (
    Needs(4.0, 1.0),
    Needs(2.0, 0.25),
    Needs(8.0, 2.0),
    Needs(16.0, 4.0),
    Needs(4.0, 1.0, labels=(("zone", "a"),)),
)


@dataclass(frozen=True)
class _Decided:
    """What a decision has led to: the packs that start, how many are preempted, and its CPU milliseconds."""

    started: list[OpenPack]
    preempted: int
    milliseconds: float


def main() -> None:
    """Run the benchmark and save its results."""
    options = _options()
    rows = measure(10 if options.quick else 125, 50 if options.quick else 1_000, options.times)
    header = machine.describe()
    results.publish(rows, header, options, "bench-queue")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.queue", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small cluster, to show that everything runs")
    parser.add_argument("--times", type=int, default=15, help="decisions of each kind, of which the median counts")
    results.add_options(parser)
    return parser.parse_args()


def measure(nodes: int, sweeps: int, times: int) -> list[Row]:
    """Return the rows of a cluster of so many nodes with 8 GPUs each, and so many sweeps of 100 trials.

    Args:
        nodes: The number of nodes.
        sweeps: The number of sweeps.
        times: How often each decision is measured.
    """
    cluster = [Node(f"n{i:03}", 64, 8, labels={"zone": "ab"[i % 2]}, id=f"{i:056x}") for i in range(nodes)]
    queue = [
        QueuedSweep(f"s{i:05}", f"owner{i % 40}", KINDS[i % 5], priority=i % 7 // 5 * 5, since=float(i % 50))
        for i in range(sweeps)
    ]
    running: list[OpenPack] = []
    while found := _decide(cluster, running, queue).started:
        running += found
    freed = running[MOST_STARTS:]
    low = [replace(pack, priority=-1) for pack in running]
    sizes = shape(gpus=8 * nodes, sweeps=sweeps, trials=100 * sweeps, packs=len(running))
    return [
        _row("Q1", sizes, [_decide(cluster, running, queue) for _ in range(times)], "no room"),
        _row("Q2", sizes, [_decide(cluster, freed, queue) for _ in range(times)], "{started} packs start"),
        _row("Q3", sizes, [_decide(cluster, low, queue) for _ in range(times)], "{preempted} packs are preempted"),
    ]


def _row(id: str, sizes: str, found: Sequence[_Decided], what: str) -> Row:
    cost, most = median(decided.milliseconds for decided in found), MOST_MILLISECONDS
    text = what.format(started=len(found[0].started), preempted=found[0].preempted)
    return row(id, sizes, cost, most, cost / most, f"CPU ms, {text}; bound", at_most=1)


def _decide(nodes: Sequence[Node], packs: Sequence[OpenPack], queue: Sequence[QueuedSweep]) -> _Decided:
    """Take one decision, as the launcher does, in which every sweep has as many packs as there is room for."""
    before = time.process_time()
    decision = FairShare(nodes, packs, queue, {}, QueueRules(), 100.0)
    started: list[OpenPack] = []
    preempted = 0
    while len(started) < MOST_STARTS and (turn := decision.turn()) is not None:
        if turn.node is None:
            preempted += len(decision.wait(turn, TRIALS_OF_A_PACK))
            continue
        decision.start(turn, TRIALS_OF_A_PACK)
        sweep, number = turn.sweep, len(packs) + len(started)
        facts = f"p{number}", sweep.id, sweep.owner, sweep.priority, sweep.needs, turn.node
        started.append(OpenPack(*facts, TRIALS_OF_A_PACK, 100.0))
    return _Decided(started, preempted, (time.process_time() - before) * 1000)


if __name__ == "__main__":
    main()
