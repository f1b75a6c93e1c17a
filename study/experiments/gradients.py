"""Gradients through the copy task over training: whether |dL/dh_0| stays near |dL/dh_T|.

T is the length of the silence, and h_T the state at its end, with every output that has to be recalled still ahead:
what is lost between them was lost on the way. The state after the last step of all is the source of one output alone.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from matplotlib.colors import LogNorm
from matplotlib.figure import Figure, SubFigure

from study.experiments.experiment import Experiment
from study.plots import COLOURS, GREY, MAP
from study.tables import NONE, Bound, Table, at_least, shown
from study.trials import Trial, label
from workers.tasks.copy_memory import Copy

LOW, HIGH = 0.1, 10.0
SHARE = 0.99
POINTS = 16
"""Of time, evenly from the first state to the last, that the trainer looks at."""
DECADES = 12
"""Gradients smaller than the largest by more are drawn as none."""


@dataclass(frozen=True)
class Looks:
    """The ratios of a trial's reports; one that had none, since a norm was 0 or not finite, lies outside the band."""

    ratios: Sequence[float | None]

    @property
    def share(self) -> float | None:
        if not self.ratios:
            return None
        return sum(ratio is not None and LOW <= ratio <= HIGH for ratio in self.ratios) / len(self.ratios)

    @property
    def known(self) -> list[float]:
        return [ratio for ratio in self.ratios if ratio is not None]


@dataclass(frozen=True)
class Gradients(Experiment):
    def tables(self, trials: Sequence[Trial]) -> list[Table]:
        headings = ("model", "r T", "looks", f"share in [{LOW:g}, {HIGH:g}]", "median ratio", "least", "greatest",
                    "share, over the last state of all", "end")  # fmt: skip
        return [Table(headings, [_row(trial) for trial in trials])]

    def conclusions(self, trials: Sequence[Trial], size: str) -> list[str]:
        ends = sorted({(_silence(trial), trial.spec.depth) for trial in trials})
        return [
            f"The ratio is |dL/dh_0| / |dL/dh_{silence}|, the last of {POINTS} points that are looked at before the "
            f"recall begins. Over |dL/dh_{depth}|, the state after the last step, it is less steady, as the column for "
            "it shows: that state feeds one output, h_0 feeds all, so it moves with how well the last symbol alone is "
            "recalled and not with what the recurrence does."
            for silence, depth in ends
        ]

    def bounds(self, trials: Sequence[Trial], size: str) -> list[Bound]:
        kept = [trial for trial in trials if _kept_small(trial)]
        bounds = [at_least(f"{label(trial.spec)}, r <= 1/T", looks(trial).share, SHARE, percent=True) for trial in kept]
        if not bounds:
            bounds = [Bound("spectral with r <= 1/T", f">= {SHARE:.0%}", NONE, None)]
        return bounds + [_leaves(trial) for trial in trials if not _kept_small(trial)]

    def plots(self, trials: Sequence[Trial]) -> dict[str, Figure]:
        drawn = [trial for trial in trials if trial.points]
        figure = Figure(figsize=(4.6 * max(1, len(drawn)), 6.2), layout="constrained")
        halves = figure.subfigures(2, 1, squeeze=False, height_ratios=(3, 2))
        _heatmaps(halves[0][0], drawn)
        _ratios(halves[1][0], drawn)
        return {self.name: figure}


def looks(trial: Trial) -> Looks:
    """|dL/dh_0| over the state at the silence's end. A trial that diverged has one more look, at the step where it did."""
    _, rows = _profile(trial)
    end = _end_of_silence(trial)
    found = [column[0] / column[end] if column[end] > 0 else None for column in zip(*rows, strict=True)]
    return Looks([*found, None] if trial.diverged else found)


def _over_last_state(trial: Trial) -> Looks:
    found = [point.values.get("grad/ratio") for point in trial.points]
    return Looks([*found, None] if trial.diverged else found)


def _end_of_silence(trial: Trial) -> int:
    """Which of the points that are looked at is the last one at or before T."""
    task = trial.spec.task
    assert isinstance(task, Copy)
    return max(i for i in range(POINTS) if _time(trial, i) <= task.length)


def _silence(trial: Trial) -> int:
    return _time(trial, _end_of_silence(trial))


def _time(trial: Trial, point: int) -> int:
    return round(point * trial.spec.depth / (POINTS - 1))


def _kept_small(trial: Trial) -> bool:
    return trial.spectral and trial.spec.model.band_margin * trial.spec.task.sequence_length <= 1


def _leaves(trial: Trial) -> Bound:
    """A control is to leave the band more often than ours may."""
    share, what = looks(trial).share, f"control: {label(trial.spec)} leaves it"
    if share is None:
        return Bound(what, f"< {SHARE:.0%}", NONE, None)
    return Bound(what, f"< {SHARE:.0%}", shown(share, percent=True), share < SHARE)


def _row(trial: Trial) -> list[str]:
    found = looks(trial)
    known = found.known
    r_t = shown(trial.spec.model.band_margin * trial.spec.task.sequence_length) if trial.spectral else NONE
    end = f"diverged: {trial.reason}" if trial.diverged else f"{trial.spec.training.steps:,} steps"
    median = statistics.median(known) if known else None
    return [
        f"{label(trial.spec)}, seed {trial.spec.training.seed}", r_t, str(len(found.ratios)),
        shown(found.share, percent=True), shown(median), shown(min(known, default=None)),
        shown(max(known, default=None)), shown(_over_last_state(trial).share, percent=True), end,
    ]  # fmt: skip


def _profile(trial: Trial) -> tuple[list[int], list[list[float]]]:
    """Steps of the looks, and for each point of time |dL/dh_t| at those."""
    names = sorted({name for point in trial.points for name in point.values if name.startswith("grad_t/")})
    whole = [point for point in trial.points if names and all(point.values.get(name) is not None for name in names)]
    rows = [[float(point.values[name] or 0.0) for point in whole] for name in names]
    return [point.step for point in whole], rows


def _heatmaps(figure: SubFigure, trials: Sequence[Trial]) -> None:
    all_axes = figure.subplots(1, max(1, len(trials)), squeeze=False)[0]
    found = [_profile(trial) for trial in trials]
    known = [value for _, rows in found for row in rows for value in row if value > 0]
    if not known:
        return
    least = max(min(known), max(known) * 10.0**-DECADES)
    norm = LogNorm(vmin=least, vmax=max(known))
    image = None
    for axes, trial, (steps, rows) in zip(all_axes, trials, found, strict=True):
        axes.set_facecolor(GREY)
        axes.set_title(label(trial.spec).replace(" (", "\n("), fontsize=8)
        axes.set_xlabel("training step")
        axes.set_ylabel("time step t")
        if not steps:
            continue
        cells = [[value if value >= least else float("nan") for value in row] for row in rows]
        image = axes.pcolormesh([0, *steps], _edges(len(rows), trial.spec.depth), cells, cmap=MAP, norm=norm)
    if image is not None:
        figure.colorbar(image, ax=list(all_axes), label=r"$|\partial L / \partial h_t|$")


def _edges(count: int, steps: int) -> list[float]:
    """Half-way between ``count`` points from 0 to ``steps``."""
    points = [i * steps / max(1, count - 1) for i in range(count)]
    return [points[0], *((a + b) / 2 for a, b in pairwise(points)), float(steps)]


def _ratios(figure: SubFigure, trials: Sequence[Trial]) -> None:
    axes = figure.subplots()
    for colour, trial in zip(COLOURS, trials, strict=False):
        steps, _ = _profile(trial)
        curve = [(step, ratio) for step, ratio in zip(steps, looks(trial).ratios, strict=False) if ratio]
        if curve:
            axes.plot(*zip(*curve, strict=True), color=colour, linewidth=1.3, label=label(trial.spec))
    axes.axhspan(LOW, HIGH, color=GREY, alpha=0.2, linewidth=0)
    axes.set_yscale("log")
    axes.set_xlabel("training step")
    axes.set_ylabel(r"$|\partial L / \partial h_0|\ /\ |\partial L / \partial h_T|$, T the silence's end")
    axes.grid(alpha=0.25)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=7, frameon=False)
