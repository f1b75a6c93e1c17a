"""Values of a sweep that are allowed and yet unwise: rules of arithmetic, and of what was measured (no torch)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import islice, product
from typing import NamedTuple

from workers.errors import FieldError
from workers.spec.expand import plan_trial, tasks_of
from workers.spec.model import ModelSpec
from workers.spec.search_space import Range, Scalar, Values
from workers.spec.sweep import SweepSpec

LOOKED_AT = 500
"""Most combinations of models that are looked at: advice is given with every showing of a sweep."""

LONG = {"gaussian": 200, "henaff": 100}
"""Steps from which these starts of many reflectors hardly train a rectifier: gradients measured at T = 500, and 0 of 10
trials of the phase diagram from henaff at T = 120."""

SUITED_TO_COPY = ("identity", "modrelu", "tanh")
LONGER = 100
"""Steps from which the phase diagram's trials at T = 120 speak: shorter ones do with less."""
DIAGRAM = "of the phase diagram's trials (docs/results.md)"


class Net(NamedTuple):
    """A model of the sweep: through how many transitions a gradient goes, and the rate of raw singular values."""

    model: ModelSpec
    depth: int
    singular_lr: float | None


class Finding(NamedTuple):
    """What is unwise: the field and its value, what comes of it, what is advised; the worst one is shown."""

    severity: float
    field: str
    given: Scalar
    problem: str
    advice: str


def warnings(sweep: SweepSpec) -> list[FieldError]:
    """One for each rule that some trial of the sweep breaks, the worst case of it; ``allowed`` says what is advised.

    Ranges are looked at by their ends.
    """
    tasks = tasks_of(sweep)
    length = max(task.sequence_length for task in tasks)
    nets = [Net(model, length if model.recurrent else model.layers, rate) for model, rate in _models(sweep)]
    found: list[Finding] = []
    for rule in RULES:
        hits = [hit for net in nets if (hit := rule(net)) is not None]
        found += [max(hits, key=lambda hit: hit.severity)] if hits else []
    own = [net.model for net in nets if net.model.kind in ("spectral_rnn", "ornn")]
    names = {task.name for task in tasks}  # type: ignore[attr-defined]
    found += _copy(own, length) if "copy" in names and own else []
    found += _adding(own) if "adding" in names and own and length >= LONGER else []
    return [
        FieldError(f"space.{hit.field}" if hit.field in sweep.space else hit.field, hit.given, hit.problem, hit.advice)
        for hit in found
    ]


def _growing(net: Net) -> Finding | None:
    """Over T steps a gradient can grow by (1 + r)^T; above r = 10 / T it does so by 1e4 and more."""
    margin, centre, depth = net.model.band_margin, net.model.band_centre, net.depth
    excess = round(centre + margin - 1, 12)
    if not net.model.spectral or net.model.kind == "spectral_resnet" or excess <= 10 / depth:
        return None
    if margin <= 10 / depth:
        problem = f"lets every singular value come to {centre + margin:.4g}: over {depth} steps gradients can explode"
        return Finding(
            excess * depth, "model.sigma", centre, problem, "1, or a little less than 1 with a larger margin"
        )
    of = f"sequences of T = {depth}" if net.model.recurrent else f"a net of T = {depth} layers"
    problem = f"is above 10 / T for {of}: gradients can grow by (1 + r)^T and training may diverge"
    return Finding(margin * depth, "model.margin", margin, problem, f"at most 1 / T = {1 / depth:.3g} is advised")


def _growing_blocks(net: Net) -> Finding | None:
    """A block x + W_2 phi(W_1 x) grows a gradient by at most 1 + (sigma* + r)^2."""
    blocks = net.depth // 2
    reach = net.model.band_centre + net.model.band_margin
    if net.model.kind != "spectral_resnet" or blocks * math.log1p(reach**2) <= 10:
        return None
    problem = f"lets each of {blocks} blocks grow a gradient {1 + reach**2:.3g} times: training may diverge"
    best = max(0.0, 1 / math.sqrt(blocks) - net.model.band_centre)
    return Finding(reach, "model.margin", net.model.band_margin, problem, f"at most {best:.3g} is advised")


def _fading(net: Net) -> Finding | None:
    """A gradient shrinks by (sigma* + r)^T at least."""
    reach = net.model.band_centre + net.model.band_margin
    if not net.model.spectral or net.model.kind == "spectral_resnet" or reach >= 1:
        return None
    if net.depth * -math.log(max(reach, 1e-300)) <= 10:
        return None
    problem = f"keeps every singular value at {reach:.3g} or less: over {net.depth} steps nothing of a gradient is left"
    advice = f"sigma + margin of 1 or a little more; at least {math.exp(-1 / net.depth):.4g}"
    return Finding(-reach, "model.sigma", net.model.band_centre, problem, advice)


def _frozen(net: Net) -> Finding | None:
    """d sigma / dp = r / 2 at p = 0: at the plain rate a small margin keeps the singular values where they are."""
    margin = net.model.band_margin
    if not net.model.spectral or net.singular_lr is None or net.singular_lr * margin >= 0.1:
        return None
    problem = f"hardly moves the singular values: their steps are margin / 2 = {margin / 2:.3g} times this"
    advice = f"leave it out, or about 1 / margin = {1 / margin:.3g}"
    return Finding(1 / margin, "training.singular_lr", net.singular_lr, problem, advice)


def _mixing(net: Net) -> Finding | None:
    """Measured at n = 128, T = 500, 64 + 64 reflectors: |dL/dh_0| / |dL/dh_T| is 1e-14 at the start; 16 + 16: 0.2."""
    model, (m1, m2) = net.model, net.model.reflector_counts
    rectified = model.kind in ("spectral_rnn", "ornn") and model.nonlinearity in ("relu", "leaky_relu")
    rotates = model.start_name in LONG
    if not (rectified and rotates and net.depth >= LONG[model.start_name] and 2 * (m1 + m2) > model.hidden_size):
        return None
    field = "model.reflectors" if model.reflectors_u is None else "model.reflectors_u"
    problem = (
        f"m1 + m2 = {m1 + m2} random reflectors of n = {model.hidden_size} mix all units at each of {net.depth} steps, "
        f"and {model.nonlinearity} closes half of them: gradients vanish from the first step of training on"
    )
    advice = f"at most n / 8 = {max(1, model.hidden_size // 8)} a side, start identity or cayley, or activation modrelu"
    return Finding((m1 + m2) / model.hidden_size, field, m1, problem, advice)


RULES: tuple[Callable[[Net], Finding | None], ...] = (_growing, _growing_blocks, _fading, _frozen, _mixing)


def _copy(models: Sequence[ModelSpec], length: int) -> list[Finding]:
    """Copying needs a net that turns its state without losing any of it; a comparison with others is fine."""
    asked: tuple[tuple[str, Callable[[ModelSpec], bool], Callable[[ModelSpec], Scalar], str, str], ...] = (
        ("model.activation", lambda m: m.nonlinearity in SUITED_TO_COPY, lambda m: m.nonlinearity,
         f"rectifies the state that is to be kept: {DIAGRAM} 1 of 240 copied with leaky_relu", "modrelu is advised"),
        ("model.reflectors", lambda m: length < LONGER or 2 * sum(m.reflector_counts) > m.hidden_size,
         lambda m: m.reflector_counts[0],
         f"leaves most of the state where it is: {DIAGRAM} at T = 120 none with (m1 + m2) / n <= 1/2 copied",
         "about hidden_size / 2 a side, or more, is advised"),
        ("model.start", lambda m: m.start_name != "identity", lambda m: m.start_name,
         f"turns nothing at first: {DIAGRAM} none that began so copied", "henaff, cayley or gaussian is advised"),
    )  # fmt: skip
    left = list(models)
    for field, suited, given, problem, advice in asked:
        kept = [model for model in left if suited(model)]
        if not kept:
            return [Finding(0, field, given(left[0]), f"{problem}; no model of this sweep does better", advice)]
        left = kept
    return []


def _adding(models: Sequence[ModelSpec]) -> list[Finding]:
    if any(model.nonlinearity != "modrelu" for model in models):
        return []
    problem = f"hardly learns a sum over {LONGER} steps and more: {DIAGRAM} 1 of 60 did at T = 120 in 2,000 steps"
    return [Finding(0, "model.activation", "modrelu", problem, "leaky_relu is advised")]


def _models(sweep: SweepSpec) -> Iterable[tuple[ModelSpec, float | None]]:
    """The models of the sweep with their ``singular_lr``, those that go together with its task."""
    paths = [path for path in sweep.space if path.startswith("model.") or path == "training.singular_lr"]
    for point in islice(product(*(_ends(sweep.space[path]) for path in paths)), LOOKED_AT):
        params = dict(zip(paths, point, strict=True))
        trial = plan_trial(sweep, 0, params).spec
        if trial is None:
            continue
        rate = trial.training.singular_lr
        yield trial.model, None if rate is None else float(rate)


def _ends(dimension: Values | Range) -> list[Scalar]:
    """A range by its ends, listed numbers by the least and the greatest, other values all."""
    if isinstance(dimension, Range):
        return [dimension.high, dimension.low]
    numbers = [value for value in dimension.values if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) < len(dimension.values) or len(numbers) < 2:
        return list(dimension.values)
    return [max(numbers), min(numbers)]
