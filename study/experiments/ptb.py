"""Language modelling on the Penn Treebank by character and by word, at equal numbers of parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from study.experiments.experiment import Experiment
from study.plots import coloured, curves, finish, panels
from study.tables import NONE, Bound, ResultTable, format_mean
from study.trials import Group, TrialOutcome, best_of, groups
from workers.tasks.language import LanguageTask

TASKS = ("ptb_char", "ptb_word")
EQUAL = 0.02
"""Relative difference up to which two numbers of parameters count as equal."""


@dataclass(frozen=True)
class PennTreebankExperiment(Experiment):
    """Language modelling on the Penn Treebank: does the spectral net beat a plain one with as many parameters?"""

    def tables(self, trials: Sequence[TrialOutcome]) -> list[ResultTable]:
        """Return one table with the bits per character, or the perplexity, of each task and model."""
        sizes = ("parameters (recurrent)", "steps", "seeds")
        headings = ("task", "model", *sizes, "validation", "test", "seconds in all", "trained together")
        return [ResultTable(headings, [_row(group) for group in groups(trials)])]

    def bounds(self, trials: Sequence[TrialOutcome], size: str) -> list[Bound]:
        """Return for each task the bound that the best spectral net has a better test metric than the best ``rnn``.

        It is met only if their numbers of parameters differ by at most the share ``EQUAL``.
        """
        found = groups(trials)
        names = list(dict.fromkeys(_name(group) for group in found))
        missing = [task for task in TASKS if not any(name.startswith(task) for name in names)]
        return [_beats(name, found) for name in [*names, *missing]]

    def conclusions(self, trials: Sequence[TrialOutcome], size: str) -> list[str]:
        """Return one or two sentences on which figures the results can be compared with."""
        found = groups(trials)
        sizes = ", ".join(f"{size:,}" for size in sorted({group.parameters.total for group in found}))
        sentences = [f"Nets of {sizes} parameters: figures of larger ones are not comparable."]
        if any(group.spec.task.model_dump()["train_on"] == "valid" for group in found):
            sentences.append(
                "Trained on nine tenths of the valid file, about 7 % of the usual text. The words are the 5,792 in it, "
                "all others are one symbol, which makes perplexities lower: these figures are comparable with each "
                "other and not with published ones."
            )
        return sentences

    def plots(self, trials: Sequence[TrialOutcome]) -> dict[str, Figure]:
        """Return one figure: the validation metric over training steps, with a panel for each task and length."""
        found = groups(trials)
        names = list(dict.fromkeys(_name(group) for group in found))
        figure, all_axes = panels(len(names), height=4.8)
        for axes, name in zip(all_axes, names, strict=False):
            own = [group for group in found if _name(group) == name]
            for colour, group in coloured(own):
                curves(axes, colour, group.label, [trial.curve(f"val/{_metric(group)}") for trial in group.trials])
            finish(axes, name, "training step", f"validation {_metric(own[0])}")
        return {self.name: figure}


def _beats(name: str, found: Sequence[Group]) -> Bound:
    own = best_of(group for group in found if group.spectral and _name(group) == name)
    plain = best_of(group for group in found if group.spec.model.kind == "rnn" and _name(group) == name)
    if own is None or plain is None:
        return Bound(f"{name}: spectral below rnn", "both of them", NONE, None)
    metric = f"test/{_metric(own)}"
    ours, theirs = own.mean(metric), plain.mean(metric)
    apart = abs(plain.parameters.total / own.parameters.total - 1)
    what = f"{name}, {metric}: spectral below rnn, parameters {apart:.1%} apart (at most {EQUAL:.0%})"
    met = None if ours is None or theirs is None else ours < theirs and apart <= EQUAL and own.complete
    return Bound(what, f"< {_spread(plain, metric)}", _spread(own, metric), met)


def _row(group: Group) -> list[str]:
    metric = _metric(group)
    return [
        _name(group),
        group.label,
        group.size,
        group.steps,
        group.seeds,
        f"{_spread(group, f'val/{metric}')} {metric}",
        f"{_spread(group, f'test/{metric}')} {metric}",
        format_mean(group.seconds),
        group.pack_size,
    ]


def _spread(group: Group, metric: str) -> str:
    return format_mean(group.values(metric), digits=4)


def _name(group: Group) -> str:
    task = group.spec.task
    assert isinstance(task, LanguageTask)
    fields = task.model_dump()
    return f"{fields['name']}, trained on {fields['train_on']}, {task.sequence_length} steps"


def _metric(group: Group) -> str:
    return "bpc" if "bpc" in group.spec.task.metrics else "perplexity"
