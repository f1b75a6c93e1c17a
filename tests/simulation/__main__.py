"""Run many schedules: ``python -m tests.simulation --schedules 10000 --seed 0``.

``--schedules 1 --large-grid`` goes through a grid of 13,020 points with 40 faults, which takes some minutes.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor

from tests.simulation.simulate import simulator

CHUNK = 100


def main() -> int:
    """Run schedules in several processes, print each failure and return 1 if there is one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--schedules", type=int, default=1000, help="how many (default: 1000)")
    parser.add_argument("--seed", type=int, default=0, help="the seed of the first one (default: 0)")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="how many at a time")
    parser.add_argument("--large-grid", action="store_true", help="schedules of one grid of 13,020 points each")
    arguments = parser.parse_args()
    last = arguments.seed + arguments.schedules
    chunks = [range(first, min(first + CHUNK, last)) for first in range(arguments.seed, last, CHUNK)]
    began, failures = time.monotonic(), 0
    with ProcessPoolExecutor(arguments.processes) as pool:
        for texts in pool.map(failures_of, chunks, [arguments.large_grid] * len(chunks)):
            failures += len(texts)
            for text in texts:
                print(text, end="\n\n")
    seconds = time.monotonic() - began
    print(f"{arguments.schedules} schedules in {seconds:.1f} s, {failures} of them broke a rule")
    return bool(failures)


def failures_of(seeds: range, large_grid: bool) -> list[str]:
    """Return each failure among the schedules of these seeds as text, shrunk unless it took minutes to find."""
    from tests.simulation.schedule import draw, with_large_grid

    found = []
    with simulator() as own:
        for seed in seeds:
            failure = own.check(with_large_grid(seed) if large_grid else draw(seed))
            if failure is not None:
                found.append(str(failure if large_grid else own.shrink(failure)))
    return found


if __name__ == "__main__":
    sys.exit(main())
