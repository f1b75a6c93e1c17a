"""Run schedules of faults: ``python -m tests.faults --schedules 200 --seed 0 --database both``."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from tests.faults import summary
from tests.faults.faults import FAULTS
from tests.faults.harness import Harness, Verdict
from tests.faults.living_stack import DatabaseKind
from tests.faults.outcome import SweepOutcome
from tests.faults.schedule import draw

OUT = Path("build/faults")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the schedules that the arguments ask for, and print what they found; return 1 for a violation."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--schedules", type=int, default=20, help="how many schedules for each database")
    parser.add_argument("--seed", type=int, default=0, help="the seed of the first schedule; the others follow it")
    parser.add_argument("--database", choices=[*get_args(DatabaseKind), "both"], default="both")
    parser.add_argument("--only", choices=FAULTS, help="the one fault to inject")
    parser.add_argument("--out", type=Path, default=OUT, help="the folder of the table and of the logs that are kept")
    given = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the stack and its disks are put away
    kinds = get_args(DatabaseKind) if given.database == "both" else (given.database,)
    verdicts: list[Verdict] = []
    undisturbed: dict[str, SweepOutcome] = {}
    for kind in kinds:
        with Harness(kind, given.out, undisturbed) as harness:
            possible = {name: fault.needs(harness.stack) for name, fault in FAULTS.items()}
            for name, why in possible.items():
                if why:
                    print(f"not with {kind} here: {name} ({why})", flush=True)
            names = tuple(name for name, why in possible.items() if not why and given.only in (None, name))
            for seed in range(given.seed, given.seed + given.schedules) if names else ():
                verdicts.append(harness.run(draw(seed, names)))
                _print(verdicts[-1], given.only)
                summary.write(verdicts, given.out)
    if not verdicts:
        return 0
    print(f"\n{summary.write(verdicts, given.out)}\n\nThe table, and what each schedule found: {given.out}")
    return int(any(verdict.violations for verdict in verdicts))


def _print(verdict: Verdict, only: str | None) -> None:
    recovery = f"went on after {verdict.recovery:.1f} s" if verdict.recovery is not None else "did not go on"
    missed = ", not injected: its moment did not come" if verdict.missed else ""
    word = "VIOLATED" if verdict.violations else "ok"
    print(f"{word:8} {verdict.kind} {verdict.schedule}: {recovery}{missed}, {verdict.seconds:.0f} s", flush=True)
    for violation in verdict.violations:
        print(f"         {violation.kind}: {violation.text}")
    if verdict.violations:
        again = f"--schedules 1 --seed {verdict.schedule.seed} --database {verdict.kind}"
        again += f" --only {only!r}" if only else ""
        print(f"         again: .venv/bin/python -m tests.faults {again}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
