"""Time series of the UCR archive: test accuracy by set, and mean ranks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from study.experiments.experiment import Experiment
from study.plots import COLOURS, finish, panels
from study.statistics import deviation, ranks
from study.tables import NONE, Bound, ResultTable, format_number
from study.trials import Group, TrialOutcome, best_of, groups
from workers.tasks.ucr import Ucr

OURS, PEERS = "spectral_rnn", ("rnn", "ornn")
CLEAR = 1.0
"""If all mean ranks lie within less than this, a sentence says that they tell no kind from another."""
SETS, SEEDS = 4, 5
"""Least numbers of data sets, and of seeds of each kind on each, for a bound on ranks to be measured."""

GroupsByDataset = dict[str, dict[str, Group]]
"""The group that is best on validation, by data set and then by kind of model."""


@dataclass(frozen=True)
class UcrSets(Experiment):
    """Data sets of the UCR archive: is the mean rank of the spectral net no worse than its peers'?"""

    def tables(self, trials: Sequence[TrialOutcome]) -> list[ResultTable]:
        """Return a table of accuracies and mean ranks by kind, and one of the models that were chosen for each kind."""
        cells = chosen(trials)
        kinds = list(dict.fromkeys(kind for row in cells.values() for kind in row))
        rows = [[name, *(_cell(row.get(kind)) for kind in kinds)] for name, row in cells.items()]
        mean = mean_ranks(cells)
        rows.append(["**mean rank**", *(format_number(mean.get(kind)) for kind in kinds)])
        caption = "Test accuracy, mean +- standard deviation over seeds; ranks by the means, 1 is best."
        labels = [
            [kind, "; ".join(dict.fromkeys(row[kind].label for row in cells.values() if kind in row))] for kind in kinds
        ]
        return [ResultTable(("set", *kinds), rows, caption), ResultTable(("kind", "models, over the sets"), labels)]

    def bounds(self, trials: Sequence[TrialOutcome], size: str) -> list[Bound]:
        """Return for each kind in ``PEERS`` the bound that the mean rank of ``OURS`` is no worse.

        They are not measured unless all three kinds are complete on at least ``SETS`` data sets with ``SEEDS`` seeds.
        """
        cells = chosen(trials)
        mean = mean_ranks(cells) if _enough(cells) else {}
        own = mean.get(OURS)
        found = []
        for kind in PEERS:
            other = mean.get(kind)
            what = f"mean rank of {OURS} no worse than {kind}'s"
            met = None if own is None or other is None else own <= other
            found.append(Bound(what, f"<= {format_number(other)}", format_number(own), met))
        return found

    def conclusions(self, trials: Sequence[TrialOutcome], size: str) -> list[str]:
        """Return one or two sentences on how certain the choice of settings and the mean ranks are."""
        cells = chosen(trials)
        ranked = mean_ranks(cells).values()
        sentences = [
            "A fifth of each official training set selects, a handful of series in the small sets: settings that tie "
            "on it are told apart by its loss, and the choice between them is as uncertain as that."
        ]
        if len(ranked) > 1 and max(ranked) - min(ranked) < CLEAR:
            sentences.append(f"Mean ranks less than {CLEAR:g} apart over {len(cells)} sets tell no kind from another.")
        return sentences

    def plots(self, trials: Sequence[TrialOutcome]) -> dict[str, Figure]:
        """Return one figure: the test accuracy of each seed, and the mean, by data set and kind."""
        cells = chosen(trials)
        kinds = list(dict.fromkeys(kind for row in cells.values() for kind in row))
        figure, (axes,) = panels(1, width=8.5)
        for i, (colour, kind) in enumerate(zip(COLOURS, kinds, strict=False)):
            for place, row in enumerate(cells.values()):
                values = [100 * value for value in row[kind].values("test/accuracy")] if kind in row else []
                x = place + (i - (len(kinds) - 1) / 2) * 0.16
                name = kind if place == 0 else None
                axes.plot([x] * len(values), values, "o", color=colour, markersize=4, alpha=0.55, label=name)
                if values:
                    axes.plot([x - 0.06, x + 0.06], [sum(values) / len(values)] * 2, color=colour, linewidth=2.2)
        axes.set_xticks(range(len(cells)), list(cells))
        finish(axes, "UCR: each seed, and the mean", "", "test accuracy, %", columns=len(kinds) or 1)
        return {self.name: figure}


def chosen(trials: Sequence[TrialOutcome]) -> GroupsByDataset:
    """Return for each data set and kind of model the group with the best validation objective."""
    found: dict[str, dict[str, list[Group]]] = {}
    for group in groups(trials):
        task = group.spec.task
        assert isinstance(task, Ucr)
        found.setdefault(task.dataset, {}).setdefault(group.spec.model.kind, []).append(group)
    return {
        name: {kind: best for kind, own in row.items() if (best := best_of(own)) is not None}
        for name, row in found.items()
    }


def _enough(cells: GroupsByDataset) -> bool:
    """Return whether there are ``SETS`` data sets, and each compared kind is complete on each with ``SEEDS`` seeds."""
    compared = [row.get(kind) for row in cells.values() for kind in (OURS, *PEERS)]
    return len(cells) >= SETS and all(g is not None and g.complete and len(g.trials) >= SEEDS for g in compared)


def mean_ranks(cells: GroupsByDataset) -> dict[str, float]:
    """Return the mean rank of each kind over the data sets, where rank 1 has the best mean test accuracy.

    A kind that a data set lacks is not ranked there, and its mean is over the others.
    """
    found: dict[str, list[float]] = {}
    for row in cells.values():
        means = {kind: mean for kind, group in row.items() if (mean := group.mean("test/accuracy")) is not None}
        for kind, rank in zip(means, ranks(list(means.values())), strict=True):
            found.setdefault(kind, []).append(rank)
    return {kind: sum(own) / len(own) for kind, own in found.items()}


def _cell(group: Group | None) -> str:
    values = [] if group is None else group.values("test/accuracy")
    if not values:
        return NONE
    return f"{100 * sum(values) / len(values):.1f} +- {100 * deviation(values):.1f} % (n = {len(values)})"
