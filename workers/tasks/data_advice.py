"""Warnings about data that are read as asked, but make a score hard to trust.

They are made of the numbers that ``data_statistics`` measures, and show these numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from workers.tasks.data_statistics import DataStatistics, NamedFew
from workers.tasks.dataset_info import DatasetInfo, DatasetTask

WIDE = 0.2
"""Half-width of an accuracy's 95 % interval from which a set is called tiny: 24 series or fewer."""
FEW_SERIES = 5
"""Series below which a set is called tiny if every step has a target."""
UNBALANCED, OVERWEIGHT = 0.8, 5
"""Share of the most frequent class that is called unbalanced; or half, if it is this many times its fair share."""
REPEATED = 0.01
"""Share of a set's series from which repeated ones are worth a warning."""


class DataFinding(NamedTuple):
    """Something about a data set that makes its scores hard to trust.

    Attributes:
        severity: The greater, the worse; comparable between findings of one rule alone.
        problem: What was found and why it matters, as a phrase that follows the name of the data set.
        advice: What to do.
    """

    severity: float
    problem: str
    advice: str


class Examined(NamedTuple):
    """A task, with the sizes of its data set and the numbers that were measured."""

    task: DatasetTask
    info: DatasetInfo
    numbers: DataStatistics

    @property
    def every_step(self) -> bool:
        """Whether every step has a target."""
        return self.task.readout == "every"

    @property
    def leave_out(self) -> str:
        """How a feature is left out of the inputs."""
        chosen = "inputs" in type(self.task).model_fields
        return "leave it out with task.inputs" if chosen else "leave it out of the file"


def half_width(share: float, count: int) -> float:
    """Return the half-width of the 95 % interval of a share that was measured on so many series (binomial)."""
    return 1.96 * math.sqrt(max(share * (1 - share), 0.0) / count)


def interval(share: float, count: int) -> tuple[float, float]:
    """Return the 95 % interval of ``half_width`` as far as it lies in [0, 1]."""
    margin = half_width(share, count)
    return max(0.0, share - margin), min(1.0, share + margin)


def is_tiny(numbers: DataStatistics, every_step: bool) -> bool:
    """Return whether so few series validate that scores on them are hardly more than chance."""
    return _few(numbers.validation, every_step)


def _few(count: int, every_step: bool) -> bool:
    return count < (FEW_SERIES if every_step else math.ceil(0.25 * (1.96 / WIDE) ** 2))


def findings(task: DatasetTask) -> dict[str, DataFinding]:
    """Return what makes the scores of a task's data set hard to trust, by the name of the rule.

    Nothing is found if its sizes are not known, or if nothing was measured because the files could not be read.
    """
    info = task.facts.get(task.dataset_name)
    if info is None or info.statistics is None:
        return {}
    examined = Examined(task, info, info.statistics)
    found = {name: rule(examined) for name, rule in RULES.items()}
    return {name: finding for name, finding in found.items() if finding is not None}


def _tiny(data: Examined) -> DataFinding | None:
    """Warn if so few series validate or test that the score is hardly more than chance."""
    sizes = {"validate": data.numbers.validation, "test": data.numbers.test}
    small = {verb: count for verb, count in sizes.items() if _few(count, data.every_step)}
    if not small:
        return None
    least = max(1, min(small.values()))
    words = " and ".join(f"{count} {'' if i else 'series '}to {verb}" for i, (verb, count) in enumerate(small.items()))
    if data.every_step:
        why = "steps of one series are alike, so the score says little about other series"
    elif data.info.classes is not None:
        margin = 100 * min(0.5, half_width(0.5, least))
        why = f"an accuracy of 50 % on {least} is uncertain by ±{margin:.0f} points (95 % interval)"
    else:
        margin = 100 * 1.96 * math.sqrt(2 / least)
        size = f"about ±{margin:.0f} %" if margin < 100 else "about its own size"
        why = f"a mean squared error on {least} is uncertain by {size}"
    advice = "get more series or hold out more of them, and compare means over several values of task.split_seed"
    return DataFinding(-least, f"has {words}: {why}", advice)


def _unbalanced(data: Examined) -> DataFinding | None:
    """Warn if one class is so frequent that always answering it reaches a high accuracy."""
    share, reached = data.numbers.majority_share, data.numbers.constant_score
    if share is None or reached is None or data.info.classes is None:
        return None
    if share < UNBALANCED and (share < 0.5 or share * len(data.info.classes) < OVERWEIGHT):
        return None
    whole, most = "steps" if data.every_step else "series", data.numbers.majority_class
    problem = (
        f"has the class '{most}' in {100 * share:.0f} % of the training {whole}: always answering it has "
        f"val/accuracy {reached:.3g}"
    )
    return DataFinding(share, problem, 'compare accuracies with that one, or set objective.metric to "val/loss"')


def _given_away(data: Examined) -> DataFinding | None:
    """Warn if a single number of each series predicts the target."""
    probe = data.numbers.probe
    if probe is None or not probe.alone:
        return None
    reached = f"explains {100 * probe.score:.2f} % of a target's variance"
    if probe.loss is None:
        reached = f"tells the class with val/accuracy {probe.score:.3g}"
    problem = f"gives its target away: {probe.reading} alone {reached}, without any network"
    advice = (
        f"if that is a copy of the target, an id, or known only with the target, {data.leave_out}; otherwise compare "
        "networks with this score"
    )
    return DataFinding(probe.score, problem, advice)


def _repeated(data: Examined) -> DataFinding | None:
    """Warn if series that validate or test are training series too."""
    numbers = data.numbers
    sets = {
        "validation": (numbers.shared_validation, numbers.validation),
        "test": (numbers.shared_test, numbers.test),
    }
    shares = {name: count / max(1, size) for name, (count, size) in sets.items()}
    if max(shares.values()) < REPEATED:
        return None
    words = " and ".join(f"{count:,} of {size:,} {name} series" for name, (count, size) in sets.items() if count)
    problem = f"has {words} in the training set too, number for number: scores on them measure memory"
    separate = " or put what belongs together into one set, with task.validation_file and task.test_file"
    named = "validation_file" in type(data.task).model_fields
    return DataFinding(max(shares.values()), problem, f"remove repeated series{separate if named else ''}")


def _merged(data: Examined) -> DataFinding | None:
    """Warn if float32 cannot tell the values of a feature apart."""
    merged, values = data.numbers.merged, data.numbers.merged_values
    if not merged.count or values is None:
        return None
    problem = (
        f"has values of {_listed(merged)} that are one number in float32, in which networks compute: of {values[0]:,} "
        f"different values {values[1]:,} are left"
    )
    scaled = "set task.normalize to true, or " if "normalize" in type(data.task).model_fields else ""
    return DataFinding(
        values[0] / values[1], problem, f"{scaled}subtract a start such as the first time of each series"
    )


def _swapped(data: Examined) -> DataFinding | None:
    """Warn if an array may have its axes in another order."""
    if not data.numbers.swapped_axes:
        return None
    problem = f"has {data.info.features:,} features of {data.info.length:,} steps: arrays are (series, steps, features)"
    advice = (
        "if this one is (series, channels, time), as aeon and sktime have it, save inputs.transpose(0, 2, 1) instead"
    )
    return DataFinding(data.info.features / data.info.length, problem, advice)


def _constant(data: Examined) -> DataFinding | None:
    """Warn if features never change."""
    constant = data.numbers.constant
    if not constant.count:
        return None
    problem = f"has one value of {_listed(constant)} at all steps of all series, which tells nothing"
    return DataFinding(constant.count, problem, f"check the file, or {data.leave_out}")


def _unlearned(data: Examined) -> DataFinding | None:
    """Warn if classes are asked for that no training series has."""
    unlearned = data.numbers.unlearned
    if not unlearned.count:
        return None
    noun = "class" if unlearned.count == 1 else "classes"
    problem = f"has the {noun} {_listed(unlearned)} in its validation or test set alone, so no network can learn this"
    return DataFinding(unlearned.count, problem, f"add training series of the {noun}, or take it out of the other sets")


RULES: dict[str, Callable[[Examined], DataFinding | None]] = {
    "gives away": _given_away,
    "repeated": _repeated,
    "swapped axes": _swapped,
    "merged": _merged,
    "unlearned": _unlearned,
    "constant": _constant,
    "unbalanced": _unbalanced,
    "tiny": _tiny,
}
"""The rules by name, the gravest first."""


def _listed(few: NamedFew) -> str:
    """Return the names of things in a row; of many, those that are known and the number of all others."""
    rest = few.count - len(few.names)
    words = [*few.names, f"{rest:,} more"] if rest else few.names
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
