"""Run the sweeps of examples/paper through the service, then write docs/results.md.

If the study is interrupted, the same command, without --again, continues where it stopped.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console

from service.client import ApiError, RestClient
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
    """Run the command and return its exit status: 0 if the page was written, 2 after an error, 130 after Ctrl-C."""
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
        console.print(f"Stopped. The same command{' without --again' if options.again else ''} continues from here.")
        return 130
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m study", description=__doc__)
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="EXPERIMENT",
        help=f"run only these, of {', '.join(EXPERIMENTS)}; the page still has all",
    )
    parser.add_argument(
        "--size",
        choices=SIZES,
        default="cpu",
        help="cpu: sweeps for two CPU cores; full: sweeps for a GPU (default: cpu)",
    )
    parser.add_argument(
        "--again", action="store_true", help="run sweeps that have a record already too, and replace it"
    )
    parser.add_argument(
        "--render", action="store_true", help="run nothing; write the page from the records that are there"
    )
    parser.add_argument(
        "--steps",
        type=int,
        help="dry run: at most this many steps per trial, and one seed; the page is written to the folder of --out",
    )
    parser.add_argument(
        "--out",
        type=Path,
        help="folder of the records, of the service's data and of the page (default: build/paper, with -full and -tiny "
        "added for --size full and --steps; without --out, the page is written to docs unless --steps is given)",
    )
    options = parser.parse_args()
    if options.steps is not None and options.steps < 1:
        parser.error(f"--steps {options.steps}: the number of steps of a trial must be at least 1")
    options.out = options.out or _folder(options.size, options.steps is not None)
    return options


def _folder(size: str, dry: bool) -> Path:
    return Path("build") / ("paper" + ("" if size == "cpu" else f"-{size}") + ("-tiny" if dry else ""))


def _chosen(names: Sequence[str] | None) -> list[Experiment]:
    unknown = [name for name in names or () if name not in EXPERIMENTS]
    if unknown:
        raise NoSuchExperiment(
            f"--only: there is no experiment {', '.join(unknown)}; choose from {', '.join(EXPERIMENTS)}"
        )
    return [experiment for name, experiment in EXPERIMENTS.items() if not names or name in names]


def _documents(options: argparse.Namespace, names: Iterable[str]) -> list[SweepDocument]:
    """Read the sweep documents of the named experiments in the size of ``--size``; shorten them if there is --steps."""
    found = documents.read(PAPER / options.size, names)
    return found if options.steps is None else [documents.shortened(document, options.steps) for document in found]


def _run(options: argparse.Namespace, experiments: Sequence[Experiment]) -> None:
    """Run the sweeps of the experiments that have no complete record of their present document; with --again, all."""
    found = _documents(options, [experiment.name for experiment in experiments])
    records = Records(options.out)
    pending = [document for document in found if options.again or not records.has(document)]
    console.print(f"{len(found)} sweeps, of which {len(found) - len(pending)} have a record already.")
    if not pending:
        return
    _announce(pending, options, records)
    started = time.monotonic()
    stack = Stack(records.home, 0, 0, say=lambda line: console.print(line, style="yellow", markup=False))
    console.print("Starting Ray, MLflow, the API and the controller ...")
    with stack, RestClient(stack.url, patience=120.0, timeout=120.0) as client:
        console.print(f"Ready: {stack.url} (page), {stack.mlflow_url} (MLflow)")
        for document in pending if options.again else ():
            records.start_over(document.stem)  # only now, after the sweeps and their data have been checked
        running.run(client, pending, records, console)
    console.print(f"{len(pending)} sweeps took {(time.monotonic() - started) / 60:.1f} minutes.")


def _announce(pending: Sequence[SweepDocument], options: argparse.Namespace, records: Records) -> None:
    """Print how long the sweeps will take, from their own earlier records or else those of a dry run.

    Sweeps without either are named and not counted. Nothing is printed if no sweep has any.
    """
    sweeps = documents.parse_all(pending, documents.data_dir())
    known = Records(_folder(options.size, dry=True)).all() | records.all()
    seconds, unknown = estimate.total(sweeps, known)
    cores = len(os.sched_getaffinity(0))
    if len(unknown) < len(sweeps):
        rest = f", without {', '.join(unknown)}" if unknown else ""
        console.print(
            f"Expected time, from earlier records: {seconds / 60 / cores:.0f} minutes on {cores} cores{rest}."
        )


def _current(options: argparse.Namespace) -> tuple[dict[str, Record], list[str]]:
    """Return the records that the page may use, by name, and the names of all others.

    A record may be used if its document, shortened if there is ``--steps``, is still the one in examples/paper of this
    size. The others are those whose document has changed or no longer exists.
    """
    digests = {document.stem: document.digest for document in _documents(options, EXPERIMENTS)}
    found = Records(options.out).all()
    current = {stem: record for stem, record in found.items() if record.digest == digests.get(stem)}
    return current, [stem for stem in found if stem not in current]


def _render(options: argparse.Namespace) -> None:
    """Write the page of all experiments, from the records of the documents as they are now.

    It is docs/results.md, or docs/results-full.md for ``--size full``. In a dry run, or if ``--out`` names another
    folder than the default, it lies in the folder of the records.
    """
    name = "results.md" if options.size == "cpu" else f"results-{options.size}.md"
    dry = options.steps is not None
    folder = options.out if dry or options.out != _folder(options.size, dry) else ROOT / "docs"
    arguments = "" if options.size == "cpu" else f"--size {options.size}"
    arguments += f" --steps {options.steps}" if dry else ""
    found, stale = _current(options)
    if stale:
        console.print(f"Records left out, since their documents have changed or are gone: {', '.join(stale)}.")
    written = page.write(folder / name, folder / "images", list(EXPERIMENTS.values()), found, options.size, arguments)
    console.print(f"Wrote {written[0]} and {len(written) - 1} plots.")


if __name__ == "__main__":
    sys.exit(main())
