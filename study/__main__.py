"""``python -m study``: the sweeps of examples/paper through the service, then docs/results.md.

Whatever stops it, the same command goes on where it was (without --again).
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console

from service.client import ApiError, Client
from service.stack import Stack
from service.stack.errors import StackError
from study import documents, estimate, page, running
from study.documents import PAPER, SIZES, SweepDocument
from study.errors import NoSuchExperiment, StudyError
from study.experiments import EXPERIMENTS, Experiment
from study.machine import ROOT
from study.records import Record, Records

console = Console(highlight=False, soft_wrap=True)


def main() -> int:
    options = _options()
    try:
        experiments = _chosen(options.only)
        if not options.render:
            _run(options, experiments)
        _render(options)
    except (StudyError, StackError, ApiError, ConnectionError) as error:
        console.print(str(error), style="red", markup=False)
        return 2
    except KeyboardInterrupt:
        console.print(f"Stopped. The same command{' without --again' if options.again else ''} goes on from here.")
        return 130
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m study", description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="EXPERIMENT", help=f"of {', '.join(EXPERIMENTS)}")
    parser.add_argument("--size", choices=SIZES, default="cpu", help="cpu: two cores; full: for a GPU")
    parser.add_argument("--again", action="store_true", help="run also what has a record")
    parser.add_argument("--render", action="store_true", help="run nothing: write the page from the records")
    parser.add_argument("--steps", type=int, help="a dry run: so many steps a trial, one seed; its page is in --out")
    parser.add_argument("--out", type=Path, help="of records and the service's home; default: build/paper")
    options = parser.parse_args()
    if options.steps is not None and options.steps < 1:
        parser.error(f"--steps {options.steps}: give at least 1")
    options.out = options.out or _folder(options.size, options.steps is not None)
    return options


def _folder(size: str, dry: bool) -> Path:
    return Path("build") / ("paper" + ("" if size == "cpu" else f"-{size}") + ("-tiny" if dry else ""))


def _chosen(names: Sequence[str] | None) -> list[Experiment]:
    unknown = [name for name in names or () if name not in EXPERIMENTS]
    if unknown:
        raise NoSuchExperiment(f"--only {' '.join(unknown)}: no such experiment; there are {', '.join(EXPERIMENTS)}")
    return [experiment for name, experiment in EXPERIMENTS.items() if not names or name in names]


def _documents(options: argparse.Namespace, names: Iterable[str]) -> list[SweepDocument]:
    """The experiments' sweeps in this size, cut short for a dry run."""
    found = documents.read(PAPER / options.size, names)
    return found if options.steps is None else [documents.shortened(document, options.steps) for document in found]


def _run(options: argparse.Namespace, experiments: Sequence[Experiment]) -> None:
    """Those sweeps that have no record yet."""
    found = _documents(options, [experiment.name for experiment in experiments])
    records = Records(options.out)
    pending = [document for document in found if options.again or not records.has(document)]
    console.print(f"{len(found)} sweeps, {len(found) - len(pending)} of them recorded already.")
    if not pending:
        return
    _announce(pending, options, records)
    started = time.monotonic()
    stack = Stack(records.home, 0, 0, say=lambda line: console.print(line, style="yellow", markup=False))
    console.print("Starting Ray, MLflow, the API and the controller ...")
    with stack, Client(stack.url, patience=120.0, timeout=120.0) as client:
        console.print(f"Up: {stack.url} (page), {stack.mlflow_url} (MLflow)")
        for document in pending if options.again else ():
            records.again(document.stem)  # not before all is known to be in order
        running.run(client, pending, records, console)
    console.print(f"{len(pending)} sweeps took {(time.monotonic() - started) / 60:.1f} minutes.")


def _announce(pending: Sequence[SweepDocument], options: argparse.Namespace, records: Records) -> None:
    """How much there is to do, and how long it will take by earlier records or by a dry run's."""
    sweeps = documents.checked(pending, documents.data_dir())
    known = Records(_folder(options.size, dry=True)).all() | records.all()
    seconds, unknown = estimate.total(sweeps, known)
    cores = len(os.sched_getaffinity(0))
    if len(unknown) < len(sweeps):
        rest = f"; {', '.join(unknown)} not among them" if unknown else ""
        console.print(f"About {seconds / 60 / cores:.0f} minutes on {cores} cores, by earlier records{rest}.")


def _current(options: argparse.Namespace) -> tuple[dict[str, Record], list[str]]:
    """The records of the documents as they are now, and the names of the others."""
    digests = {document.stem: document.digest for document in _documents(options, EXPERIMENTS)}
    found = Records(options.out).all()
    current = {stem: record for stem, record in found.items() if record.digest == digests.get(stem)}
    return current, [stem for stem in found if stem not in current]


def _render(options: argparse.Namespace) -> None:
    """The page of all records, whatever was chosen now: docs/results.md, and a dry run's beside its records."""
    name = "results.md" if options.size == "cpu" else f"results-{options.size}.md"
    dry = options.steps is not None
    folder = options.out if dry or options.out != _folder(options.size, dry) else ROOT / "docs"
    arguments = "" if options.size == "cpu" else f"--size {options.size}"
    arguments += f" --steps {options.steps}" if dry else ""
    found, stale = _current(options)
    if stale:
        console.print(f"Left out, since they are of other documents than those of now: {', '.join(stale)}.")
    written = page.write(folder / name, folder / "images", list(EXPERIMENTS.values()), found, options.size, arguments)
    console.print(f"Written: {written[0]} and {len(written) - 1} plots.")


if __name__ == "__main__":
    sys.exit(main())
