"""Deep nets on flat MNIST: spectral, plain and residual nets of the same depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from matplotlib.figure import Figure

from study.experiments.experiment import Experiment
from study.plots import coloured, curves, finish, limit, panels, percent_of_errors
from study.tables import NONE, Bound, ResultTable, at_least, at_most, format_mean, format_number
from study.trials import Group, TrialOutcome, best_of, groups

ONE_CLASS = 0.1135
"""Share of the most frequent digit among the test images, which a net that learned nothing gets right."""


@dataclass(frozen=True)
class DeepNets(Experiment):
    """Deep nets on flat MNIST; ``ASKED`` is the mean test accuracy asked of the spectral net, by number of layers."""

    ASKED: ClassVar[dict[int, float]] = {100: 0.97, 200: 0.95}

    def tables(self, trials: Sequence[TrialOutcome]) -> list[ResultTable]:
        """Return one table with the validation and test accuracy of each depth and model."""
        headings = (
            "layers",
            "model",
            "parameters (of the layers)",
            "steps",
            "seeds",
            "validation accuracy",
            "test accuracy",
            "seconds in all",
            "trained together",
        )
        return [ResultTable(headings, [_row(group) for group in sorted(groups(trials), key=_depth)])]

    def bounds(self, trials: Sequence[TrialOutcome], size: str) -> list[Bound]:
        """Return three bounds on the mean test accuracy for each depth.

        The spectral net reaches what ``ASKED`` has, the plain net stays at that of one class for all, and the residual
        net stays below the spectral one.
        """
        found = groups(trials)
        return [bound for depth, asked in self.ASKED.items() for bound in self._bounds(depth, asked, found)]

    def _bounds(self, depth: int, asked: float, found: Sequence[Group]) -> list[Bound]:
        kinds = {
            kind: best_of(group for group in found if _depth(group) == depth and group.spec.model.kind == kind)
            for kind in ("spectral_mlp", "mlp", "resnet")
        }
        own, plain, residual = (None if group is None else group.mean("test/accuracy") for group in kinds.values())
        first = kinds["spectral_mlp"]
        named = f"{depth} layers: {first.label}" if first else f"{depth} layers: spectral_mlp"
        stuck = at_most(f"{depth} layers: mlp stays at one class", plain, ONE_CLASS + 5e-5, percent=True)
        below = Bound(f"{depth} layers: resnet is below ours", f"< {format_number(own, percent=True)}", NONE, None)
        if own is not None and residual is not None:
            below = Bound(below.what, below.asked, format_number(residual, percent=True), residual < own)
        whole = first is not None and first.complete
        return [at_least(f"{named}, mean of the seeds", own, asked, percent=True, also=whole), stuck, below]

    def conclusions(self, trials: Sequence[TrialOutcome], size: str) -> list[str]:
        """Return one sentence, the same for all results, on how the nets start and on what was not tried."""
        return [
            "The plain net starts as torch's linear layers do, U(-1/sqrt(n), 1/sqrt(n)), which fades with depth by "
            "itself; the spectral net starts at the identity, the residual one has its shortcuts. No other start "
            "of the plain net, no normalisation and no other depth was tried."
        ]

    def plots(self, trials: Sequence[TrialOutcome]) -> dict[str, Figure]:
        """Return one figure: the share of validation errors over training steps, with a panel for each depth."""
        found = groups(trials)
        depths = sorted({_depth(group) for group in found})
        figure, all_axes = panels(len(depths), height=4.8)
        for axes, depth in zip(all_axes, depths, strict=False):
            for colour, group in coloured(group for group in found if _depth(group) == depth):
                errors = [[(step, 100 * (1 - v)) for step, v in trial.curve("val/accuracy")] for trial in group.trials]
                curves(axes, colour, group.label, errors)
            percent_of_errors(axes)
            limit(axes, 100 * (1 - ONE_CLASS), "one class for all")
            finish(axes, f"Flat MNIST, {depth} layers", "training step", "validation error, %")
        return {self.name: figure}


def _row(group: Group) -> list[str]:
    return [
        str(_depth(group)),
        group.label,
        group.size,
        group.steps,
        group.seeds,
        format_mean(group.values("val/accuracy"), percent=True),
        format_mean(group.values("test/accuracy"), percent=True),
        format_mean(group.seconds),
        group.pack_size,
    ]


def _depth(group: Group) -> int:
    return group.spec.model.layers
