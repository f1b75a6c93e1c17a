"""docs/results.md: every experiment with tables, bounds, published figures, plots and the command that repeats it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from study import estimate, fairness
from study.documents import belongs
from study.experiments import Experiment
from study.plots import png
from study.records import Record
from study.tables import NONE, Bound, ResultTable, bound_table, minutes, published_table
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
class Ran:
    """A sweep that ran."""

    record: Record
    trials: Sequence[TrialOutcome]

    @property
    def core_seconds(self) -> float:
        return estimate.core_seconds(self.record, self.trials)


def write(
    path: Path,
    images: Path,
    experiments: Sequence[Experiment],
    records: Mapping[str, Record],
    size: str,
    arguments: str = "",
) -> list[Path]:
    """Write the page and its plots, named after the page; gives all files written. arguments: of the command."""
    ran = {stem: Ran(record, trials_of(record)) for stem, record in records.items()}
    files: list[Path] = []
    parts, bounds = [], []
    for experiment in experiments:
        own = [one for stem, one in ran.items() if belongs(stem, experiment.name)]
        part, found = section(experiment, own, size, arguments)
        if own:
            part += [_pictures(experiment, own, images, path, files)]
        parts.append("\n\n".join(part))
        bounds += [(experiment, bound) for bound in found]
    head = HEAD.format(command=_command(arguments))
    text = "\n\n".join([head, _summary(bounds), *parts, _sweeps(ran, size), _machines(records)])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, f"{text}\n".encode())
    return [path, *files]


def _command(arguments: str) -> str:
    return f'make paper ARGS="{arguments.strip()}"' if arguments.strip() else "make paper"


def section(experiment: Experiment, own: Sequence[Ran], size: str, arguments: str) -> tuple[list[str], list[Bound]]:
    """Its paragraphs and its bounds."""
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
    said = [*experiment.conclusions(trials, size), *fairness.sentences(trials)]
    parts += ["\n".join(f"- {sentence}" for sentence in said)] if said else []
    parts += [published_table(experiment.published).markdown()] if experiment.published else []
    seconds = sum(one.core_seconds for one in own)
    seeds = sorted({trial.spec.training.seed for trial in trials})
    facts = f"{len(trials)} trials; seeds {', '.join(map(str, seeds))}; {minutes(seconds)} core minutes."
    return [*parts, f"{facts} {experiment.SELECTED}", repeat], bounds


def _pictures(experiment: Experiment, own: Sequence[Ran], images: Path, page: Path, files: list[Path]) -> str:
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


def _sweeps(ran: Mapping[str, Ran], size: str) -> str:
    rows, core = [], 0.0
    for stem, one in ran.items():
        record, seconds = one.record, one.core_seconds
        core += seconds
        starts = [trial.started_at for trial in record.trials if trial.started_at]
        ends = [trial.ended_at for trial in record.trials if trial.ended_at]
        wall = max(ends) - min(starts) if starts and ends else None
        failed = sum(trial.state in ("failed", "cancelled") for trial in record.trials)
        lost = sum(max(0, trial.attempts - 1) for trial in record.trials)
        rows.append([stem, record.state, str(len(record.trials)), str(failed), str(lost), minutes(seconds),
                     NONE if wall is None else minutes(wall), _versions(record)])  # fmt: skip
    text = f"Training and scoring took {minutes(core)} core minutes, {core / 3600:.2f} core hours, in all."
    if size == "cpu":
        text += f" On two cores that are never idle that is {minutes(core / 2)} minutes."
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
    """Each machine once, whatever the date and the source."""
    found: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for stem, record in records.items():
        rest = tuple((name, value) for name, value in record.machine.items() if name not in ("date", "source"))
        found.setdefault(rest, []).append(stem)
    lines = []
    for rest, stems in found.items():
        of = "" if len(found) == 1 else f" ({', '.join(stems)})"
        lines.append("- " + ", ".join(f"{name}: {value}" for name, value in rest) + of)
    return "\n\n".join(["## Machine", "\n".join(lines)])
