"""A guard against slower code: measures the ratios of P1 and P1-all again and compares them with the committed figures.

python -m benchmarks.check [--figures docs/benchmarks-avx512.json] [--rounds 5]

It ends with status 1 if a ratio is worse than the committed one by more than 15 %, twice in a row. Ratios to nn.RNN,
which is measured in turns with our layer, depend little on what else the machine does. They do depend on the kind of
processor, so the figures are those of one instruction set, and should be measured anew on another machine.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import machine, results
from benchmarks.recurrence import steps
from benchmarks.results import Row
from benchmarks.shapes import P1, QUICK, Shape
from spectral.cpu import library
from study.machine import ROOT

CHECKED = ("P1", "P1-all")
ALLOWED = 1.15
"""How many times the committed ratio a ratio may be."""
FIGURES = {"AVX-512": "benchmarks-avx512.json", "AVX2": "benchmarks-avx2.json"}
"""The committed figures of each instruction set, files in docs/ in the form of results.py."""


def main() -> None:
    """Measure, compare, and exit the program with a list of what is slower."""
    options = _options()
    path = options.figures or _figures()
    if not path.exists():
        raise SystemExit(f"{path} does not exist; make bench-cpu measures and writes the figures of this machine")
    committed = {key(line): line for line in results.load(path) if line.id in CHECKED}
    header = machine.describe("numpy")
    for name, value in header.items():
        print(f"{name}: {value}")
    wanted = QUICK if options.quick else P1
    slower = _slower(wanted, committed, options.rounds)
    if slower:
        print(f"{len(slower)} are slower; once more, to tell them from a disturbance of the machine", flush=True)
        again = {at: bound for at, bound in wanted.items() if any(line.shape == str(at) for line in slower)}
        slower = _slower(again, committed, options.rounds)
    if slower:
        raise SystemExit(
            "\n".join(["Slower than the committed figures:", *(_sentence(line, committed) for line in slower)])
        )
    print(f"No ratio is worse than {path.name} says by more than {ALLOWED - 1:.0%}.")


def key(line: Row) -> tuple[str, str]:
    """Return by what a row is found again: its id and shape."""
    return line.id, line.shape


def worse(found: Sequence[Row], committed: Mapping[tuple[str, str], Row], allowed: float = ALLOWED) -> list[Row]:
    """Return the rows whose ratio is more than ``allowed`` times the committed one.

    Raises:
        SystemExit: If none of the rows has a committed figure, so that nothing would be compared.
    """
    pairs = [(line, committed[key(line)]) for line in found if line.id in CHECKED and key(line) in committed]
    if not pairs:
        raise SystemExit("no committed figure is of these shapes, so there is nothing to compare")
    return [new for new, old in pairs if new.ratio is None or old.ratio is None or new.ratio > allowed * old.ratio]


def _slower(table: Mapping[Shape, float], committed: Mapping[tuple[str, str], Row], rounds: int) -> list[Row]:
    return worse(steps(table, rounds, "auto", only_rnn=True), committed)


def _sentence(line: Row, committed: Mapping[tuple[str, str], Row]) -> str:
    before = committed[key(line)].ratio
    assert line.ratio is not None
    assert before is not None
    return f"  {line.id} at {line.shape}: {line.ratio:.3g} of nn.RNN, {line.ratio / before:.2f} times {before:.3g}"


def _figures() -> Path:
    found = library.instruction_set()
    if found not in FIGURES:
        raise SystemExit(f"there are no committed figures for {found}; name a file with --figures")
    return ROOT / "docs" / FIGURES[found]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.check", description=__doc__)
    parser.add_argument(
        "--figures", type=Path, help="the committed figures; those of this instruction set if not given"
    )
    parser.add_argument("--rounds", type=int, default=5, help="samples of each contender")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, for figures that were measured with them")
    return parser.parse_args()


if __name__ == "__main__":
    main()
