"""Writer of docs/results.md: tables, bounds, published results, plots and a command for every experiment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from study import estimate, fairness
from study.documents import belongs
from study.experiments import Experiment
from study.plots import png
from study.records import Record
from study.tables import NONE, Bound, ResultTable, bound_table, format_minutes, published_table
from study.trials import TrialOutcome, trials_of
from workers.files import write_whole

HEAD = """# Results

Written by `{command}` from the records of its sweeps: no figure of ours here is typed by hand. A figure over several
seeds is their mean, with the least and the greatest in brackets. Models are selected by validation; test figures are
those of the parameters that were best there. Seconds are those of a trial's own pack, training and scoring, so trials
trained together share them.

The command below an experiment runs it anew; without `--again` it runs what has no record yet. MNIST, the Penn
Treebank and UCR are read from the folder that `SPECTRAL_DATA_DIR` names; what is missing is named with its place."""


@dataclass(frozen=True)
class CompletedSweep:
    """The record of a sweep that has ended, and its trials as the experiments read them."""

    record: Record
    trials: Sequence[TrialOutcome]

    @property
    def core_seconds(self) -> float:
        """The seconds that its packs spent in training and scoring, times the CPUs of a pack."""
        return estimate.core_seconds(self.record, self.trials)


def write(
    path: Path,
    images: Path,
    experiments: Sequence[Experiment],
    records: Mapping[str, Record],
    size: str,
    arguments: str = "",
) -> list[Path]:
    """Write the page and its plots, replacing files that are there. Experiments without records say so.

    Args:
        path: File of the page.
        images: Folder of the plots, below the folder of the page; their file names start with that of the page.
        experiments: The experiments, in the order of the page.
        records: Records of sweeps, by the name of the sweep.
        size: Size of the sweeps, ``cpu`` or ``full``, on which the bounds depend.
        arguments: Arguments of ``python -m study`` that the page shows in its commands, such as ``--size full``.

    Returns:
        All files that were written, the page first.

    Raises:
        RecordWrong: If the sweep of a record is not valid in this version.
    """
    completed = {stem: CompletedSweep(record, trials_of(record)) for stem, record in records.items()}
    files: list[Path] = []
    parts, bounds = [], []
    for experiment in experiments:
        own = [one for stem, one in completed.items() if belongs(stem, experiment.name)]
        part, found = section(experiment, own, size, arguments)
        if own:
            part += [_pictures(experiment, own, images, path, files)]
        parts.append("\n\n".join(part))
        bounds += [(experiment, bound) for bound in found]
    head = HEAD.format(command=_command(arguments))
    text = "\n\n".join([head, _summary(bounds), *parts, _sweeps(completed, size), _machines(records)])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, f"{text}\n".encode())
    return [path, *files]


def _command(arguments: str) -> str:
    return f'make paper ARGS="{arguments.strip()}"' if arguments.strip() else "make paper"


def section(
    experiment: Experiment, own: Sequence[CompletedSweep], size: str, arguments: str
) -> tuple[list[str], list[Bound]]:
    """Return the paragraphs of an experiment's section, without its plots, and its bounds.

    Args:
        experiment: The experiment.
        own: The sweeps of the experiment that have a record; may be empty.
        size: Size of the sweeps, ``cpu`` or ``full``.
        arguments: Arguments that the command in the section shows before ``--only``.
    """
    repeat = f"    {_command(f'{arguments} --only {experiment.name} --again')}"
    head = [f"## {experiment.title}", experiment.about]
    if not own:
        return [*head, "Not run yet.", repeat], experiment.bounds([], size)
    trials = [trial for one in own for trial in one.trials]
    bounds = experiment.bounds(trials, size)
    short = [f"{b.what}: asked {b.asked}, found {b.found}" for b in bounds if b.met is False]
    parts = [*head, *(table.markdown() for table in experiment.tables(trials))]
    parts += [bound_table(bounds).markdown()] if bounds else []
    parts += ["**Falls short.** " + "; ".join(short) + "."] if short else []
    sentences = [*experiment.conclusions(trials, size), *fairness.fairness_sentences(trials)]
    parts += ["\n".join(f"- {sentence}" for sentence in sentences)] if sentences else []
    parts += [published_table(experiment.published).markdown()] if experiment.published else []
    seconds = sum(one.core_seconds for one in own)
    seeds = sorted({trial.spec.training.seed for trial in trials})
    facts = f"{len(trials)} trials; seeds {', '.join(map(str, seeds))}; {format_minutes(seconds)} core minutes."
    return [*parts, f"{facts} {experiment.SELECTED}", repeat], bounds


def _pictures(
    experiment: Experiment, own: Sequence[CompletedSweep], images: Path, page: Path, files: list[Path]
) -> str:
    images.mkdir(parents=True, exist_ok=True)
    lines = []
    for name, figure in experiment.plots([trial for one in own for trial in one.trials]).items():
        file = images / f"{page.stem}-{name}.png"
        write_whole(file, png(figure))
        files.append(file)
        lines.append(f"![{experiment.title}]({file.relative_to(page.parent)})")
    return "\n\n".join(lines)


def _summary(bounds: Sequence[tuple[Experiment, Bound]]) -> str:
    met, short = (sum(bound.met is verdict for _, bound in bounds) for verdict in (True, False))
    open_ = len(bounds) - met - short
    rows = [(experiment.title, b.what, b.asked, b.found, b.verdict) for experiment, b in bounds]
    head = f"Of {len(bounds)} bounds {met} are met, {short} are not, {open_} were not measured."
    return "\n\n".join(["## Bounds", head, ResultTable(("experiment", "bound", "asked", "found", ""), rows).markdown()])


def _sweeps(completed: Mapping[str, CompletedSweep], size: str) -> str:
    rows, core = [], 0.0
    for stem, one in completed.items():
        record, seconds = one.record, one.core_seconds
        core += seconds
        starts = [trial.started_at for trial in record.trials if trial.started_at]
        ends = [trial.ended_at for trial in record.trials if trial.ended_at]
        wall = max(ends) - min(starts) if starts and ends else None
        failed = sum(trial.state in ("failed", "cancelled") for trial in record.trials)
        lost = sum(max(0, trial.attempts - 1) for trial in record.trials)
        times = [format_minutes(seconds), NONE if wall is None else format_minutes(wall)]
        rows.append([stem, record.state, str(len(record.trials)), str(failed), str(lost), *times, _versions(record)])
    text = f"Training and scoring took {format_minutes(core)} core minutes, {core / 3600:.2f} core hours, in all."
    if size == "cpu":
        text += f" On two cores that are never idle that is {format_minutes(core / 2)} minutes."
    headings = (
        "sweep",
        "state",
        "trials",
        "failed",
        "restarts",
        "core minutes",
        "minutes from start to end",
        "made on",
    )
    return "\n\n".join(["## Sweeps", text, ResultTable(headings, rows).markdown()])


def _versions(record: Record) -> str:
    return f"{record.machine.get('date', NONE)}, {record.machine.get('source', NONE)}"


def _machines(records: Mapping[str, Record]) -> str:
    """Return the section on the machines of the records; those that differ in date and source alone share an entry."""
    found: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for stem, record in records.items():
        rest = tuple((name, value) for name, value in record.machine.items() if name not in ("date", "source"))
        found.setdefault(rest, []).append(stem)
    lines = []
    for rest, stems in found.items():
        of = "" if len(found) == 1 else f" ({', '.join(stems)})"
        lines.append("- " + ", ".join(f"{name}: {value}" for name, value in rest) + of)
    return "\n\n".join(["## Machine", "\n".join(lines)])
