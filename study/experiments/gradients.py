"""Gradients through the copy task during training: whether |dL/dh_0| stays near |dL/dh_T|.

T is the length of the task. At h_T the net still has to recall every symbol, so a gradient that is smaller at h_0 was
lost on the way. The ratio to |dL/dh| of the state after the last step, which affects one output alone, is computed too.
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
from study.records import PointRecord
from study.tables import NONE, Bound, ResultTable, at_least, format_mean, format_number
from study.trials import TrialOutcome, label
from workers.tasks.copy_memory import Copy
from workers.training.probe_points import sequence_count, time_points

LOW, HIGH = 0.1, 10.0
"""The band in which the ratios of spectral nets with a small margin have to lie."""
SHARE = 0.99
"""Least share of a trial's ratios that has to lie in the band."""
CONTROL_MARGIN = 0.1
"""The margin of the spectral nets that serve as a control, and must leave the band."""
DECADES = 12
"""Gradients that are smaller than the largest by more decades than this are not drawn."""


@dataclass(frozen=True)
class GradientRatios:
    """The ratios |dL/dh_0| / |dL/dh_t| of a trial, one for each report with gradients.

    A ratio is None if |dL/dh_t| was 0 or one of the two was not finite. One more None stands for a divergence of the
    trial. None lies outside the band from ``LOW`` to ``HIGH``.
    """

    ratios: Sequence[float | None]

    @property
    def share(self) -> float | None:
        """Share of the ratios, None included, that lie from ``LOW`` to ``HIGH``; None if there are no ratios."""
        if not self.ratios:
            return None
        return sum(ratio is not None and LOW <= ratio <= HIGH for ratio in self.ratios) / len(self.ratios)

    @property
    def known(self) -> list[float]:
        """The ratios without those that are None."""
        return [ratio for ratio in self.ratios if ratio is not None]


@dataclass(frozen=True)
class Gradients(Experiment):
    """Gradients through the copy task during training: do the ratios of spectral nets stay in the band?"""

    def tables(self, trials: Sequence[TrialOutcome]) -> list[ResultTable]:
        """Return one table with the share in the band, the median, the least and the greatest ratio of each trial."""
        band = f"share in [{LOW:g}, {HIGH:g}]"
        ratios = ("probes", band, "median ratio", "least", "greatest", "share, over the last state of all")
        headings = ("model", "r T", *ratios, "end")
        return [ResultTable(headings, [_row(trial) for trial in trials])]

    def bounds(self, trials: Sequence[TrialOutcome], size: str) -> list[Bound]:
        """Return one bound for each spectral trial with a small margin, and one for each of the two controls.

        A margin r is small if r times the steps of a whole sequence is at most 1. Of such a trial, ``SHARE`` of the
        ratios must lie in the band. The trials of a control (lstm; spectral nets of margin ``CONTROL_MARGIN``) must all
        have a smaller share.
        """
        kept = [trial for trial in trials if _kept_small(trial)]
        bounds = [
            at_least(f"{_named(t)}, r <= 1/T, over h_{_silence(t)}", gradient_ratios(t).share, SHARE, percent=True)
            for t in kept
        ]
        if not bounds:
            bounds = [Bound("spectral with r <= 1/T", f">= {SHARE:.0%}", NONE, None)]
        controls = {
            "lstm": [trial for trial in trials if trial.spec.model.kind == "lstm"],
            "spectral with r = 0.1": [t for t in trials if t.spectral and t.spec.model.band_margin == CONTROL_MARGIN],
        }
        return bounds + [_leaves(what, own) for what, own in controls.items()]

    def conclusions(self, trials: Sequence[TrialOutcome], size: str) -> list[str]:
        """Return two sentences on how the ratios are measured, for each length and batch size."""
        found = []
        for silence, depth, batch in sorted({(_silence(t), t.spec.depth, t.spec.training.batch_size) for t in trials}):
            found += [
                f"A probe is one step's gradient of the training loss, over {sequence_count(batch)} sequences, at "
                f"{len(time_points(depth))} points of time. The ratio is |dL/dh_0| / |dL/dh_{silence}|, the last "
                "before the recall begins.",
                f"The last column is over |dL/dh_{depth}|, the state after the last step, and no bound is held to it: "
                "that state feeds one output and h_0 feeds all, so it moves with how well the last symbol alone is "
                "recalled, and nets whose gradients do not cross the silence stay in the band by it.",
            ]
        return found

    def plots(self, trials: Sequence[TrialOutcome]) -> dict[str, Figure]:
        """Return one figure: above a heatmap of |dL/dh_t| for each trial with reports, below the ratios of all."""
        drawn = [trial for trial in trials if trial.points]
        figure = Figure(figsize=(4.6 * max(1, len(drawn)), 6.2), layout="constrained")
        halves = figure.subfigures(2, 1, squeeze=False, height_ratios=(3, 2))
        _heatmaps(halves[0][0], drawn)
        _ratios(halves[1][0], drawn)
        return {self.name: figure}


def gradient_ratios(trial: TrialOutcome) -> GradientRatios:
    """Return |dL/dh_0| / |dL/dh_t| at every report with gradients, for the last probed time t before the recall."""
    return _ratios_up_to(trial, _times(trial).index(_silence(trial)))


def _over_last_state(trial: TrialOutcome) -> GradientRatios:
    return _ratios_up_to(trial, len(_times(trial)) - 1)


def _ratios_up_to(trial: TrialOutcome, end: int) -> GradientRatios:
    """Return |dL/dh_0| over the gradient at the probed time of index ``end``; a diverged trial has one more None."""
    found = [_ratio(point, end) for point in trial.points if any(name.startswith("grad_t/") for name in point.values)]
    return GradientRatios([*found, None] if trial.diverged else found)


def _ratio(point: PointRecord, end: int) -> float | None:
    """Return the ratio at one report; None if the norm below the line is 0, or a norm is not finite or not recorded."""
    first, last = point.values.get("grad_t/00"), point.values.get(f"grad_t/{end:02d}")
    return first / last if first is not None and last else None


def _times(trial: TrialOutcome) -> list[int]:
    return time_points(trial.spec.depth)


def _silence(trial: TrialOutcome) -> int:
    """Return the last probed time at or before T, the number of blanks of the copy task."""
    task = trial.spec.task
    assert isinstance(task, Copy)
    return max(time for time in _times(trial) if time <= task.length)


def _named(trial: TrialOutcome) -> str:
    return f"{label(trial.spec)}, seed {trial.spec.training.seed}"


def _kept_small(trial: TrialOutcome) -> bool:
    return trial.spectral and trial.spec.model.band_margin * trial.spec.task.sequence_length <= 1


def _leaves(what: str, found: Sequence[TrialOutcome]) -> Bound:
    """Return the bound that every trial of a control has less than ``SHARE`` of its ratios in the band."""
    shares = [share for trial in found if (share := gradient_ratios(trial).share) is not None]
    what, asked = f"control: {what} leaves it, every seed", f"< {SHARE:.0%}"
    if not shares:
        return Bound(what, asked, NONE, None)
    return Bound(what, asked, format_mean(shares, percent=True), max(shares) < SHARE)


def _row(trial: TrialOutcome) -> list[str]:
    found = gradient_ratios(trial)
    known = found.known
    r_t = format_number(trial.spec.model.band_margin * trial.spec.task.sequence_length) if trial.spectral else NONE
    end = f"diverged: {trial.reason}" if trial.diverged else f"{trial.spec.training.steps:,} steps"
    median = statistics.median(known) if known else None
    return [
        _named(trial),
        r_t,
        str(len(found.ratios)),
        format_number(found.share, percent=True),
        format_number(median),
        format_number(min(known, default=None)),
        format_number(max(known, default=None)),
        format_number(_over_last_state(trial).share, percent=True),
        end,
    ]


def _profile(trial: TrialOutcome) -> tuple[list[int], list[list[float]]]:
    """Return the training steps of the probes, and for each probed time |dL/dh_t| at those steps."""
    names = sorted({name for point in trial.points for name in point.values if name.startswith("grad_t/")})
    whole = [point for point in trial.points if names and all(point.values.get(name) is not None for name in names)]
    rows = [[float(point.values[name] or 0.0) for point in whole] for name in names]
    return [point.step for point in whole], rows


def _heatmaps(figure: SubFigure, trials: Sequence[TrialOutcome]) -> None:
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
        axes.set_title(_named(trial).replace(" (", "\n("), fontsize=8)
        axes.set_xlabel("training step")
        axes.set_ylabel("time step t")
        if not steps:
            continue
        cells = [[value if value >= least else float("nan") for value in row] for row in rows]
        image = axes.pcolormesh([0, *steps], _edges(len(rows), trial.spec.depth), cells, cmap=MAP, norm=norm)
    if image is not None:
        figure.colorbar(image, ax=list(all_axes), label=r"$|\partial L / \partial h_t|$")


def _edges(count: int, steps: int) -> list[float]:
    """Return the ``count`` + 1 edges of the cells around ``count`` evenly spaced points from 0 to ``steps``."""
    points = [i * steps / max(1, count - 1) for i in range(count)]
    return [points[0], *((a + b) / 2 for a, b in pairwise(points)), float(steps)]


def _ratios(figure: SubFigure, trials: Sequence[TrialOutcome]) -> None:
    axes = figure.subplots()
    for colour, trial in zip(COLOURS, trials, strict=False):
        end = _times(trial).index(_silence(trial))
        curve = [(point.step, ratio) for point in trial.points if (ratio := _ratio(point, end))]
        if curve:
            axes.plot(*zip(*curve, strict=True), color=colour, linewidth=1.3, label=_named(trial))
    axes.axhspan(LOW, HIGH, color=GREY, alpha=0.2, linewidth=0)
    axes.set_yscale("log")
    axes.set_xlabel("training step")
    axes.set_ylabel(r"$|\partial L / \partial h_0|\ /\ |\partial L / \partial h_T|$")
    axes.grid(alpha=0.25)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
