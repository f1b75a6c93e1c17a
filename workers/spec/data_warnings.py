"""Warnings about the data of a sweep, and about results that are no better than an answer without a network."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from workers.errors import FieldError
from workers.spec.expand import objective, task_at
from workers.spec.search_space import Range, Scalar
from workers.spec.sweep import SweepSpec
from workers.tasks import Task
from workers.tasks.data_advice import RULES, findings, half_width, interval, is_tiny
from workers.tasks.data_statistics import DataStatistics
from workers.tasks.dataset_info import DatasetTask

LOSSES: dict[str, Callable[[float], float]] = {
    "loss": lambda value: value,
    "error": lambda value: value**2,
    "bpc": lambda value: value * math.log(2),
    "perplexity": lambda value: math.log(max(value, 1e-300)),
}
"""Loss that each metric stands for."""
SAME_LOSS = 0.01
"""Share of a constant answer's loss by which a network has to be better."""
SAME_ACCURACY = 1.1
"""How many times the accuracy of a guess a network has to reach where the classes were not counted."""

REPEATS = 2
"""How often a step has to take every training series for its batch to be called too large."""
STEPS_MARGIN = 0.01
"""By how much the accuracy on steps has to exceed that of a constant answer."""


def data_warnings(sweep: SweepSpec, tasks: Sequence[Task]) -> list[FieldError]:
    """Return at most one warning for each rule about data, about the data set of the sweep that it fits best.

    There are none for data sets that were not measured, because the server could not read them.

    Args:
        sweep: The sweep.
        tasks: Its tasks, as ``tasks_of`` returns them.
    """
    sets = {task.dataset_name: task for task in reversed(tasks) if isinstance(task, DatasetTask)}
    found = {name: findings(task) for name, task in sets.items()}
    warnings = []
    for rule in RULES:
        hits = {name: own[rule] for name, own in found.items() if rule in own}
        if not hits:
            continue
        worst = max(hits, key=lambda name: hits[name].severity)
        others = f" (one of {len(hits)} such data sets of the sweep)" if len(hits) > 1 else ""
        path = f"task.{sets[worst].dataset_field}"
        field = f"space.{path}" if path in sweep.space else path
        warnings.append(FieldError(field, worst, f"{hits[worst].problem}{others}", hits[worst].advice))
    return [*warnings, *_large_batch(sweep, sets)]


def _large_batch(sweep: SweepSpec, sets: Mapping[str, DatasetTask]) -> list[FieldError]:
    """Return a warning if a batch is at least ``REPEATS`` times the smallest training set; else none."""
    found = {name: task.info.statistics for name, task in sets.items() if name in task.facts}
    counts = {name: numbers.train for name, numbers in found.items() if numbers is not None}
    swept = sweep.space.get("training.batch_size")
    sizes = [sweep.training.batch_size]
    if isinstance(swept, Range):
        sizes = [int(swept.high)]
    elif swept is not None:
        sizes = [int(size) for size in swept.values if isinstance(size, int)]
    size, name = max(sizes), min(counts, key=lambda one: counts[one], default="")
    if not name or size < REPEATS * counts[name]:
        return []
    problem = (
        f"is more than the {counts[name]:,} training series of {name}: every step computes each of them "
        f"{size / counts[name]:.2g} times on average, which takes longer and teaches nothing more"
    )
    field = "training.batch_size"
    advice = f"use at most {counts[name]}"
    return [FieldError(field if swept is None else f"space.{field}", size, problem, advice)]


def result_warnings(sweep: SweepSpec, params: Mapping[str, Scalar], best: float) -> list[FieldError]:
    """Return a warning if the best result of an ended sweep is reached without a network; else none.

    It is compared with the best constant answer, and with what a single number of each series tells. Where the data
    were not measured, the constant answer is that of the task's ``baseline``, or a guess.

    Args:
        sweep: The sweep.
        params: The point of its best trial.
        best: The objective of that trial.
    """
    metric = objective(sweep).metric
    own = task_at(sweep, params)
    task = own if isinstance(own, Task) else type(sweep.task).model_validate(own)
    numbers = None
    if isinstance(task, DatasetTask) and task.dataset_name in task.facts:
        numbers = task.info.statistics
    name = metric.removeprefix("val/")
    if name == "accuracy":
        found = _accuracy_without_network(task, numbers, best)
    elif name in LOSSES:
        found = _loss_without_network(task, numbers, LOSSES[name](best))
    else:
        return []
    return [FieldError(metric, float(f"{best:.4g}"), *found)] if found else []


LIKE_CONSTANT = "train longer, or with another learning rate; and check whether the inputs can tell the target at all"
UNLIKE_CHANCE = "hold out more validation series, since chance alone explains a difference this small on so few"
NO_BETTER = "hold out more validation series, of every class; or compare val/loss, which tells such networks apart"
LIKE_PROBE = "check whether that is the target in disguise; if not, these networks add nothing to it"


def _accuracy_without_network(task: Task, numbers: DataStatistics | None, best: float) -> tuple[str, str] | None:
    """Return the problem and the advice if an accuracy is reached without a network."""
    if numbers is None or numbers.constant_score is None:
        guess = 1 / task.output_size
        if best > SAME_ACCURACY * guess:
            return None
        return f"is not better than a guess among {task.output_size} classes, which has {guess:.3g}", LIKE_CONSTANT
    constant, every_step = numbers.constant_score, task.readout == "every"
    margin = STEPS_MARGIN if every_step else half_width(constant, numbers.validation)
    if best <= constant + margin:
        answer = f"always answering '{numbers.majority_class}', which has {constant:.3g}"
        if not every_step:
            low, high = interval(constant, numbers.validation)
            answer += f" on {numbers.validation:,} series (95 % interval {low:.2g} to {high:.2g})"
        compared = "not better" if best <= constant else "hardly better"
        return f"is {compared} than {answer}", _advice(best, constant, margin, every_step)
    probe = numbers.probe
    if probe is None or best > probe.score or probe.score <= constant + margin or is_tiny(numbers, every_step):
        return None
    return f"is reached by {probe.reading} alone, which has {probe.score:.3g} without any network", LIKE_PROBE


def _advice(best: float, constant: float, margin: float, every_step: bool) -> str:
    """Return what to do about an accuracy that is at most ``margin`` better than that of a constant answer."""
    if constant + margin >= 1:  # no accuracy would be clearly better
        return NO_BETTER
    return UNLIKE_CHANCE if best > constant and not every_step else LIKE_CONSTANT


def _loss_without_network(task: Task, numbers: DataStatistics | None, loss: float) -> tuple[str, str] | None:
    """Return the problem and the advice if a loss is reached without a network."""
    constant = task.baseline if numbers is None or numbers.constant_loss is None else numbers.constant_loss
    if loss >= constant * (1 - SAME_LOSS):
        return f"is not better than the best constant answer, whose loss is {constant:.4g}", LIKE_CONSTANT
    probe = None if numbers is None else numbers.probe
    if probe is None or numbers is None or probe.loss is None or is_tiny(numbers, task.readout == "every"):
        return None
    if loss < probe.loss or probe.loss >= constant * (1 - SAME_LOSS):
        return None
    return f"is reached by a straight line through {probe.reading}, whose loss is {probe.loss:.4g}", LIKE_PROBE
