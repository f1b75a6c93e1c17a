"""Warnings about values of a sweep that are allowed but unwise, and about its data.

The rules come from arithmetic (how far a gradient can grow or shrink) and from measurements (``docs/results.md``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import islice, product
from typing import NamedTuple

from workers.errors import FieldError
from workers.spec.data_warnings import data_warnings
from workers.spec.expand import plan_trial, rules_of, tasks_of
from workers.spec.model import ModelSpec
from workers.spec.search_space import Range, Scalar, Values
from workers.spec.sweep import SweepSpec

MAX_MODELS = 500
"""How many combinations of swept fields are examined at most: warnings are computed each time a sweep is shown."""

MIXING_LENGTHS = {"gaussian": 200, "henaff": 100}
"""The sequence length, by ``model.start``, from which a network with many reflectors and a rectifier hardly learns.
Measured: for gaussian the gradients at T = 500; for henaff at T = 120, 0 of 10 trials of the phase diagram learned."""

COPY_ACTIVATIONS = ("identity", "modrelu", "tanh")
"""Activations with which the phase diagram's trials learned to copy."""
DIAGRAM_LENGTH = 100
"""Sequence length from which findings of the phase diagram at T = 120 are applied; shorter tasks are easier."""
DIAGRAM = "of the phase diagram's trials (docs/results.md)"


class Network(NamedTuple):
    """A model of the sweep, with what the rules need besides.

    ``depth`` is the number T of transitions that a gradient passes: the steps of the longest task for a recurrent kind,
    and the layers for any other. ``singular_lr`` is ``training.singular_lr``.
    """

    model: ModelSpec
    depth: int
    singular_lr: float | None


class Finding(NamedTuple):
    """An unwise value of ``field``, a dotted path such as ``model.margin``.

    Of several findings of one rule, the one with the greatest ``severity`` is shown; the scale is the rule's own.
    """

    severity: float
    field: str
    given: Scalar
    problem: str
    advice: str


def warnings(sweep: SweepSpec) -> list[FieldError]:
    """Return at most one warning for each rule, about the network of the sweep that breaks the rule most severely.

    Before them are those about its data (``data_warnings``), and about values that the space overrides.

    A rule about the tasks ``copy`` and ``adding`` is broken only if no network of the sweep keeps it. The least and the
    greatest value stand for a range or a list of numbers, and at most ``MAX_MODELS`` combinations are examined. Every
    sequence is taken to be as long as those of the sweep's longest task. The warning's ``allowed`` is the advice.
    """
    tasks = tasks_of(sweep)
    length = max(task.sequence_length for task in tasks)
    networks = [Network(model, length if model.recurrent else model.layers, rate) for model, rate in _models(sweep)]
    found: list[Finding] = []
    for rule in RULES:
        hits = [hit for network in networks if (hit := rule(network)) is not None]
        found += [max(hits, key=lambda hit: hit.severity)] if hits else []
    own = [network.model for network in networks if network.model.kind in ("spectral_rnn", "ornn")]
    names = {task.name for task in tasks}  # type: ignore[attr-defined]
    found += _copying(own, length) if "copy" in names and own else []
    found += _adding(own) if "adding" in names and own and length >= DIAGRAM_LENGTH else []
    about_networks = [
        FieldError(f"space.{hit.field}" if hit.field in sweep.space else hit.field, hit.given, hit.problem, hit.advice)
        for hit in found
    ]
    return [*data_warnings(sweep, tasks), *_ignored(sweep), *about_networks]


def _ignored(sweep: SweepSpec) -> Iterator[FieldError]:
    """Warn of fixed values of fields that the space sets everywhere.

    A default counts as not given, and so does the first value of the space: a sweep that was stored and is submitted
    again has them in these places.
    """
    for path, dimension in sweep.space.items():
        part, _, field = path.partition(".")
        spec = getattr(sweep, part)
        given = getattr(spec, field, None)
        filled = isinstance(dimension, Values) and given == dimension.values[0]
        default = type(spec).model_fields[field].get_default(call_default_factory=True)
        if field in spec.model_fields_set and given not in (None, default) and not filled and not dimension.when:
            problem = f"is ignored: space sets {path} in every trial"
            yield FieldError(path, given, problem, f"leave out {path}, or take it out of space")


def _exploding(network: Network) -> Finding | None:
    """Warn if sigma* + r is above 1 + 10 / T: over T transitions gradients can grow by (sigma* + r)^T and explode.

    For a large T that is a factor above e^10, or 2e4. Residual blocks have a rule of their own.
    """
    margin, centre, depth = network.model.band_margin, network.model.band_centre, network.depth
    excess = round(centre + margin - 1, 12)
    if not network.model.spectral or network.model.kind == "spectral_resnet" or excess <= 10 / depth:
        return None
    if margin <= 10 / depth:
        problem = f"lets every singular value reach {centre + margin:.4g}: gradients can explode over T = {depth}"
        advice = "use 1, or a little less than 1 with a larger margin"
        return Finding(excess * depth, "model.sigma", centre, problem, advice)
    where = f"sequences of T = {depth}" if network.model.recurrent else f"a network of T = {depth} layers"
    problem = f"is above 10 / T for {where}: gradients can grow by ({centre:g} + r)^T and training may diverge"
    return Finding(margin * depth, "model.margin", margin, problem, f"use at most 1 / T = {1 / depth:.3g}")


def _exploding_blocks(network: Network) -> Finding | None:
    """Warn if residual blocks can let gradients grow by more than e^10 in all.

    A block x + W_2 phi(W_1 x) grows a gradient by at most 1 + (sigma* + r)^2.
    """
    blocks = network.depth // 2
    largest = network.model.band_centre + network.model.band_margin
    if network.model.kind != "spectral_resnet" or blocks * math.log1p(largest**2) <= 10:
        return None
    problem = f"lets each of {blocks} blocks grow a gradient {1 + largest**2:.3g} times: training may diverge"
    best = max(0.0, 1 / math.sqrt(blocks) - network.model.band_centre)
    advice = f"use at most {best:.3g}" if best > 0 else f"use model.sigma below {1 / math.sqrt(blocks):.3g} first"
    return Finding(largest, "model.margin", network.model.band_margin, problem, advice)


def _vanishing(network: Network) -> Finding | None:
    """Warn if gradients must vanish: (sigma* + r)^T, the share of their size that can be left, is below e^-10."""
    largest = network.model.band_centre + network.model.band_margin
    if not network.model.spectral or network.model.kind == "spectral_resnet" or largest >= 1:
        return None
    if network.depth * -math.log(max(largest, 1e-300)) <= 10:
        return None
    problem = f"keeps every singular value at {largest:.3g} or less: gradients vanish over T = {network.depth}"
    advice = f"make sigma + margin 1 or a little more; at least {math.exp(-1 / network.depth):.4g}"
    return Finding(-largest, "model.sigma", network.model.band_centre, problem, advice)


def _frozen(network: Network) -> Finding | None:
    """Warn if ``singular_lr`` is below 0.1 / r, so that singular values hardly move.

    A singular value moves by r / 2 times the step of its raw number, so a small margin r needs a higher rate.
    """
    margin = network.model.band_margin
    if not network.model.spectral or network.singular_lr is None or network.singular_lr * margin >= 0.1:
        return None
    problem = f"hardly moves the singular values: their steps are margin / 2 = {margin / 2:.3g} times this rate"
    advice = f"leave it out, or use about 1 / margin = {1 / margin:.3g}"
    return Finding(1 / margin, "training.singular_lr", network.singular_lr, problem, advice)


def _mixing(network: Network) -> Finding | None:
    """Warn if a long spectral_rnn or ornn with relu or leaky_relu has more than n / 2 reflectors at a mixing start.

    The starts and lengths are ``MIXING_LENGTHS``. Gradients then vanish: measured at n = 128 and T = 500 before
    training, |dL/dh_0| / |dL/dh_T| is 1e-14 with 64 + 64 reflectors and 0.2 with 16 + 16.
    """
    model, (m1, m2) = network.model, network.model.reflector_counts
    rectified = model.kind in ("spectral_rnn", "ornn") and model.nonlinearity in ("relu", "leaky_relu")
    if not rectified or network.depth < MIXING_LENGTHS.get(model.start_name, math.inf):
        return None
    if 2 * (m1 + m2) <= model.hidden_size:
        return None
    field = "model.reflectors" if model.reflectors_u is None else "model.reflectors_u"
    problem = (
        f"m1 + m2 = {m1 + m2} reflectors of n = {model.hidden_size} with start {model.start_name} mix all units at "
        f"each of {network.depth} steps, and {model.nonlinearity} closes half of them: gradients vanish from the first "
        "step of training on"
    )
    most = max(1, model.hidden_size // 8)
    advice = f"use at most n / 8 = {most} on each side, start identity or cayley, or activation modrelu"
    return Finding((m1 + m2) / model.hidden_size, field, m1, problem, advice)


RULES: tuple[Callable[[Network], Finding | None], ...] = (
    _exploding,
    _exploding_blocks,
    _vanishing,
    _frozen,
    _mixing,
)
"""Rules that apply to every task; each examines one network."""


class Requirement(NamedTuple):
    """What a model needs for one task.

    ``is_met`` tests a model, and ``value`` returns the value of ``field`` that a model fails with.
    """

    field: str
    is_met: Callable[[ModelSpec], bool]
    value: Callable[[ModelSpec], Scalar]
    problem: str
    advice: str


def _copying(models: Sequence[ModelSpec], length: int) -> list[Finding]:
    """Return one finding if no model of the sweep is suited to the copy task, and else an empty list.

    Copying needs rotations of the state, and an activation that loses no part of it. One suited model among others is
    enough. ``length`` is the number of steps of the longest task.
    """
    requirements = (
        Requirement(
            "model.activation",
            lambda model: model.nonlinearity in COPY_ACTIVATIONS,
            lambda model: model.nonlinearity,
            f"rectifies the state that has to be kept: {DIAGRAM} 1 of 240 learned to copy with leaky_relu",
            "use modrelu",
        ),
        Requirement(
            "model.reflectors",
            lambda model: length < DIAGRAM_LENGTH or 2 * sum(model.reflector_counts) > model.hidden_size,
            lambda model: model.reflector_counts[0],
            f"rotates too little of the state: {DIAGRAM} none with (m1 + m2) / n <= 1/2 learned to copy at T = 120",
            "use about hidden_size / 2 on each side, or more",
        ),
        Requirement(
            "model.start",
            lambda model: model.start_name != "identity",
            lambda model: model.start_name,
            f"does not rotate the state at first: {DIAGRAM} none with this start learned to copy",
            "use henaff, cayley or gaussian",
        ),
    )
    # Each requirement is asked of the models that meet those before it: the first that none of them meets is shown.
    candidates = list(models)
    for requirement in requirements:
        suited = [model for model in candidates if requirement.is_met(model)]
        if not suited:
            given = requirement.value(candidates[0])
            problem = f"{requirement.problem}; no model of this sweep is better suited"
            return [Finding(0, requirement.field, given, problem, requirement.advice)]
        candidates = suited
    return []


def _adding(models: Sequence[ModelSpec]) -> list[Finding]:
    """Return one finding if modReLU, which hardly learns long sums, is the activation of every model; else none."""
    if any(model.nonlinearity != "modrelu" for model in models):
        return []
    problem = f"hardly learns a sum over {DIAGRAM_LENGTH} steps: {DIAGRAM} 1 of 60 did at T = 120 in 2,000 steps"
    return [Finding(0, "model.activation", "modrelu", problem, "use leaky_relu")]


def _models(sweep: SweepSpec) -> Iterator[tuple[ModelSpec, float | None]]:
    """Yield models of the sweep that can be trained, each with its ``training.singular_lr``.

    They are the first ``MAX_MODELS`` combinations of the ``_representatives`` of the swept fields.
    """
    paths = [path for path in sweep.space if path.startswith("model.") or path == "training.singular_lr"]
    rules = rules_of(sweep)
    for values in islice(product(*(_representatives(sweep.space[path]) for path in paths)), MAX_MODELS):
        point = rules.settle(dict(zip(paths, values, strict=True)))
        trial = None if rules.broken(point) else plan_trial(sweep, 0, point).spec
        if trial is not None:
            rate = trial.training.singular_lr
            yield trial.model, None if rate is None else float(rate)


def _representatives(dimension: Values | Range) -> list[Scalar]:
    """Return the values that stand for a dimension: its greatest and its least number.

    A list that holds text or booleans is returned whole.
    """
    if isinstance(dimension, Range):
        return [dimension.high, dimension.low]
    numbers = [value for value in dimension.values if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) < len(dimension.values) or len(numbers) < 2:
        return list(dimension.values)
    return [max(numbers), min(numbers)]
