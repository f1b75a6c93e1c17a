"""P1, P1-all, P2 to P5 on AVX-512 and with AVX2 alone, on one machine that has both, part by part in turns.

python -m benchmarks.instruction_sets [--write docs] [--rounds 7] [--only avx2]

With AVX2 alone means that our compiled code, torch and its libraries (oneDNN, MKL) are all held to AVX2, so that nn.RNN
is slower too. ``--write docs`` copies the figures to docs/benchmarks-avx512.json and docs/benchmarks-avx2.json, with
which ``make bench-check`` compares, and puts their tables into docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks import results
from study.machine import ROOT

AVX2 = {
    "SPECTRAL_NATIVE_ISA": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "ATEN_CPU_CAPABILITY": "avx2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
}
SETS: dict[str, dict[str, str]] = {"avx512": {"SPECTRAL_NATIVE_ISA": "native"}, "avx2": AVX2}
"""The environment of each instruction set."""


def main() -> None:
    """Run every part on each instruction set in turn."""
    options = _options()
    quick, rounds = (["--quick"] if options.quick else []), ["--rounds", str(options.rounds)]
    parts = [["benchmarks.recurrence", "--trust", "--only", part, *rounds] for part in ("P1", "P3", "P5")]
    parts.append(["benchmarks.packs", "--trust"])
    for part in parts:
        for name in options.only:
            print(f"== {name}: {' '.join(part)}", flush=True)
            command = [sys.executable, "-m", *part, *quick, "--out", str(options.out / name)]
            subprocess.run(command, cwd=ROOT, env=os.environ | SETS[name], check=True)
    if options.write and not options.quick:
        for name in options.only:
            _publish(options.out / name / "bench.json", options.write, name)


def _publish(path: Path, docs: Path, name: str) -> None:
    """Copy the figures of an instruction set, and put their table into benchmarks.md."""
    to = docs / f"benchmarks-{name}.json"
    shutil.copy(path, to)
    shutil.copy(path.with_name(f"{path.stem}-machine.json"), to.with_name(f"{to.stem}-machine.json"))
    results.write_section(docs / "benchmarks.md", f"bench-{name}", to)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.instruction_sets", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to show that everything runs")
    parser.add_argument("--rounds", type=int, default=7, help="samples of each contender")
    parser.add_argument("--only", nargs="+", choices=SETS, default=list(SETS), help="these instruction sets alone")
    parser.add_argument(
        "--out", type=Path, default=Path("build"), help="folder of the results, one folder for each set"
    )
    parser.add_argument("--write", type=Path, help="the folder of the documents to write to")
    return parser.parse_args()


if __name__ == "__main__":
    main()
