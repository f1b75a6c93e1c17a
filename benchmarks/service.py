"""Benchmark P6: a sweep through the service, and the same with Ray Tune and MLflow. See docs/benchmarks.md.

python -m benchmarks.service [--quick] [--write docs/benchmarks.md]
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from statistics import median

from benchmarks import machine, results, service_agreement, service_runs, service_sweep
from benchmarks.results import Row, row
from benchmarks.service_runs import Run
from benchmarks.service_sweep import QUICK, Size

CORES = len(os.sched_getaffinity(0))
LITERAL_STEPS, LITERAL_SEEDS = 20, 1
TITLES = {"ours": "ours", "dense": "Ray Tune, dense", "literal": "Ray Tune, literal"}


def main() -> None:
    """Run the benchmark and save its results."""
    options = _options()
    size = QUICK if options.quick else Size(steps=options.steps, report_every=options.steps // 10, batch=options.batch)
    data_dir = Path(os.environ["SPECTRAL_DATA_DIR"]) if os.environ.get("SPECTRAL_DATA_DIR") else None
    document = service_sweep.document(size, data_dir)
    header = machine.describe("ray", "mlflow", "numpy") | {"task": str(document["task"]), "cores": str(CORES)}
    error = service_agreement.require_same_losses(size, data_dir)
    header["same trials"] = f"losses of both sides agree to {error:.1e} over {service_agreement.STEPS} float64 steps"
    homes = options.out / "bench-service"
    runs = {"ours": service_runs.ours(document, homes / "ours", CORES)}
    print(_line("ours", runs["ours"]), flush=True)
    for kind in options.peers:
        few = {"steps": min(LITERAL_STEPS, size.steps), "seeds": LITERAL_SEEDS} if kind == "literal" else {}
        runs[kind] = service_runs.peer(document, kind, homes / kind, CORES, data_dir, **few)
        print(_line(kind, runs[kind]), flush=True)
    if "dense" in runs:
        header["losses"] = _compared(runs["ours"], runs["dense"])
    rows = figures(runs, size)
    results.publish(rows, header, options, "bench-service")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.service", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="tiny sizes, to show that everything runs; the times mean nothing"
    )
    parser.add_argument("--steps", type=int, default=500, help="training steps per trial, with ten reports in all")
    parser.add_argument("--batch", type=int, default=32, help="sequences per step")
    parser.add_argument(
        "--peers", nargs="*", choices=("dense", "literal"), default=["dense", "literal"], help="peers to run"
    )
    parser.add_argument("--out", type=Path, default=Path("build"), help="folder of the results and homes")
    parser.add_argument("--write", type=Path, help="put the results into this document")
    return parser.parse_args()


def figures(runs: dict[str, Run], size: Size) -> list[Row]:
    """Return the rows: trials per hour, the time outside training steps, and the time to the first metric."""
    own = runs["ours"]
    at = results.shape(n=size.hidden, T=size.length, B=size.batch, steps=size.steps, trials=own.trials)
    rates = {name: _rate(run) for name, run in runs.items()}
    if "literal" in runs:
        rates["literal"] = _rate_in_full(runs["literal"], size)
    rows: list[Row] = []
    for kind, bound in (("literal", 10.0), ("dense", 1.8)):
        if kind in runs:
            method = f"trials an hour, {TITLES[kind]}" + (f"; {_extrapolated(runs[kind])}" if kind == "literal" else "")
            rows.append(row("P6", at, rates["ours"], rates[kind], rates["ours"] / rates[kind], method, at_least=bound))
    for name, run in runs.items():
        share = 1 - run.training / (CORES * run.wall)
        what = f"s of {CORES} cores: training, all; share outside steps, {TITLES[name]}; scoring {_share(run):.1%}"
        most = 0.05 if name == "ours" else None
        rows.append(row("P6-outside", at, run.training, CORES * run.wall, share, what, at_most=most))
    lost = 1 - (own.training + own.scoring) / (CORES * own.wall)
    method = f"s of {CORES} cores: training and scoring, all; share of start-up, service, tracking and waiting"
    rows.append(row("P6-service", at, own.training + own.scoring, CORES * own.wall, lost, method, at_most=0.05))
    for name, run in runs.items():
        if name != "ours":
            method = f"s from the request to the first metric; {TITLES[name]}"
            ratio = own.first_metric / run.first_metric
            rows.append(row("P6-first", at, own.first_metric, run.first_metric, ratio, method))
    return rows


def _rate(run: Run) -> float:
    """Return trials per hour."""
    return 3600 * run.trials / run.wall


def _rate_in_full(run: Run, size: Size) -> float:
    """Return the trials per hour of a shortened run, extrapolated to all steps and reports."""
    done = sum(points[-1]["step"] for points in run.points.values())
    beside = CORES * run.wall - run.training - run.scoring
    # a run of few steps scores twice at its end: validation and test
    a_score = run.scoring / (2 * run.trials)
    a_trial = beside / run.trials + size.steps * run.training / done + (size.steps // size.report_every + 1) * a_score
    return 3600 * CORES / a_trial


def _extrapolated(run: Run) -> str:
    steps = next(iter(run.points.values()))[-1]["step"]
    return f"extrapolated from {run.trials} trials of {steps:.0f} steps"


def _share(run: Run) -> float:
    return run.scoring / (CORES * run.wall)


def _compared(own: Run, peer: Run) -> str:
    """Say how far apart the best losses of both sides are in float32, where rounding may activate other units."""
    names = own.points.keys() & peer.points.keys()
    apart = [abs(_best(own, name) / _best(peer, name) - 1) for name in names]
    return f"best val/loss of {len(names)} trials in float32: {median(apart):.1%} apart, at most {max(apart):.1%}"


def _best(run: Run, name: str) -> float:
    return min(point["val/loss"] for point in run.points[name])


def _line(name: str, run: Run) -> str:
    return (
        f"  {TITLES[name]}: {run.trials} trials in {run.wall:.1f} s (last trial {run.last_trial:.1f}, first metric "
        f"{run.first_metric:.1f}); training {run.training:.1f}, scoring {run.scoring:.1f} s over {CORES} cores"
    )


if __name__ == "__main__":
    main()
