"""Sentences on two hypotheses about the phase diagram, each with its test, and on the settings that train best."""

from __future__ import annotations

import math
from collections.abc import Sequence

from study.experiments.phase_points import PhasePoint, group_by, share
from study.statistics import Z95, fisher_greater, logistic, ratio_with_error, wilson
from study.tables import format_number

SAFE = 1.0
"""r T up to which a margin is taken to be too small to make a trial fail."""
EDGE = (1.0, 10.0)
"""Range of r T in which the first hypothesis expects the edge of success."""
FEW, NEAR_FULL = 0.5, 1.0
"""(m1 + m2) / n: up to ``FEW`` there are few reflectors; from ``NEAR_FULL`` on every rotation can be reached."""
DECISIVE = 2.0
"""Difference in log likelihood above which the better of two models with equally many parameters is preferred."""
SIGNIFICANT = 0.05
"""P-value below which a difference of two shares is called significant."""
RARELY = 0.25
"""A setting hardly ever succeeds if the upper end of its share's interval is below this."""
LEAST = 20
"""Least number of trials for a test of H1; each of the two sides that H2 compares needs half as many."""


ABLE = "settings that mostly train at the least r T, whose own trials are not counted"


def able(points: Sequence[PhasePoint]) -> list[PhasePoint]:
    """Return the points above the least r T, of those settings and lengths of which most trials succeed at the least.

    If such a point fails, the margin is the reason. The trials at the least r T itself are left out, since most of them
    succeed by construction. A setting is a task, a share of reflectors, an activation and a start.
    """
    least = min((point.r_t for point in points), default=0.0)
    choosing = group_by([point for point in points if point.r_t == least], lambda p: (p.setting, p.length))
    kept = {key for key, own in choosing.items() if share(own) > 0.5}
    return [point for point in points if point.r_t > least and (point.setting, point.length) in kept]


def edge(points: Sequence[PhasePoint]) -> list[str]:
    """Test hypothesis H1 for one task: success ends at an r T of 1 to 10, whatever the length T is.

    Args:
        points: The points of the task, at least one.

    Returns:
        One sentence if H1 cannot be tested or is not supported; else one on the r T at which half of the trials
        succeed, and one on whether r T explains the outcomes better than r alone.
    """
    task = points[0].task
    kept = able(points)
    name = f"**H1, {task}** (the edge of success collapses in r T near {EDGE[0]:g} to {EDGE[1]:g}):"
    outcomes = [point.success for point in kept]
    if len(kept) < LEAST or all(outcomes):
        return [f"{name} cannot be tested: {sum(outcomes)} successes in {len(kept)} trials of {ABLE}."]
    by_product = logistic([[math.log(p.margin * p.length) for p in kept]], outcomes)
    slope, found = float(by_product.coefficients[1]), len(kept)
    if slope >= 0:
        return [f"{name} not supported: success does not fall with r T (slope {slope:.2f} per e-fold, {found} trials)."]
    ratio, ratio_error = ratio_with_error(by_product, 0, 1)
    middle, low, high = (math.exp(-ratio + k * Z95 * ratio_error) for k in (0, -1, 1))
    error = math.sqrt(float(by_product.covariance[1, 1]))
    clear = abs(slope) > Z95 * error
    steep = f"slope {slope:.2f} +- {Z95 * error:.2f} per e-fold of r T" + ("" if clear else ", not clearly below 0")
    basis = f"{steep}; {found} trials of {len(group_by(kept, lambda p: (p.setting, p.length)))} {ABLE}"
    most = max(point.r_t for point in kept)
    if middle > most:
        by_length = group_by([point for point in kept if point.r_t == most], lambda p: p.length).items()
        ends = ", ".join(f"{_interval([p.success for p in own])} at T = {length}" for length, own in by_length)
        return [f"{name} not supported: at r T = {most:g}, the largest here, {ends} still succeed ({basis})."]
    place = "across an end of"
    if EDGE[0] <= low and high <= EDGE[1]:
        place = "inside"
    elif high < EDGE[0] or EDGE[1] < low:
        place = "outside"
    interval = f"95 %: {format_number(low)} to {format_number(high)}"
    half = (
        f"half of the trials succeed at r T = {format_number(middle)} ({interval}), {place} {EDGE[0]:g} to {EDGE[1]:g}"
    )
    return [f"{name} {half} ({basis}).", _collapse(name, kept)]


def _collapse(name: str, kept: Sequence[PhasePoint]) -> str:
    """Return a sentence on whether r T explains the outcomes better than r alone, if there are at least two lengths."""
    lengths = sorted({point.length for point in kept})
    outcomes = [point.success for point in kept]
    if len(lengths) < 2:
        return f"{name} whether it collapses cannot be told from the one length {lengths[0]}."
    log_r, log_t = [math.log(p.margin) for p in kept], [math.log(p.length) for p in kept]
    product = logistic([[a + b for a, b in zip(log_r, log_t, strict=True)]], outcomes)
    alone, both = logistic([log_r], outcomes), logistic([log_r, log_t], outcomes)
    gain = product.log_likelihood - alone.log_likelihood
    power, error = ratio_with_error(both, 2, 1)
    verdict = "r T and r alone order the outcomes about equally well, so the lengths here cannot tell them apart"
    if gain > DECISIVE:
        verdict = "r T orders the outcomes better than r alone, as a collapse in r T predicts"
    elif gain < -DECISIVE:
        verdict = "r alone orders the outcomes better than r T, against a collapse in r T"
    ends, half = " and ".join(map(str, lengths)), Z95 * error
    return (
        f"{name} over T = {ends}, {verdict} (log likelihood {product.log_likelihood:.1f} against "
        f"{alone.log_likelihood:.1f}); fitted freely the edge lies at constant r T^{power:.2f} "
        f"(95 %: {power - half:.2f} to {power + half:.2f})."
    )


def reflectors(points: Sequence[PhasePoint]) -> list[str]:
    """Test hypothesis H2: leaky ReLU does better on adding with few reflectors, while copy needs near-full sets.

    Only points with r T at most ``SAFE`` are compared, and only starts that have points with few reflectors and with
    more. On copy, activations with which no trial succeeded are left out.

    Returns:
        A sentence on adding and one on copy.
    """
    safe = [point for point in points if point.r_t <= SAFE]
    both = {
        start
        for start, own in group_by(safe, lambda p: p.start).items()
        if {p.filling <= FEW for p in own} == {True, False}
    }
    adding = [p for p in safe if p.start in both and p.task == "adding" and p.activation == "leaky_relu"]
    copying = [p for p in safe if p.start in both and p.task == "copy"]
    train = {activation for activation, own in group_by(copying, lambda p: p.activation).items() if share(own) > 0}
    return [
        _compared("leaky ReLU does better on adding with few reflectors", "adding, leaky_relu", adding, more=False),
        _compared(
            "copy needs near-full sets",
            f"copy, {' and '.join(sorted(train)) or 'no activation that trained'}",
            [p for p in copying if p.activation in train],
            more=True,
        ),
    ]


def _compared(claim: str, what: str, points: Sequence[PhasePoint], *, more: bool) -> str:
    """Return a sentence that compares the successes with few reflectors and with near-full sets.

    Args:
        claim: The claim, in words.
        what: The task and activations, in words.
        points: The points to compare.
        more: True if the claim says that few reflectors are not enough, False if it says that they are better.
    """
    few = [point.success for point in points if point.filling <= FEW]
    many = [point.success for point in points if point.filling >= NEAR_FULL]
    name = f"**H2** ({claim}; r T <= {SAFE:g}, starts that exist for both):"
    if min(len(few), len(many)) < LEAST // 2:
        return f"{name} cannot be tested: {len(few)} trials with few reflectors, {len(many)} with near-full sets."
    first, second = (many, few) if more else (few, many)
    p = fisher_greater(sum(first), len(first), sum(second), len(second))
    against = fisher_greater(sum(second), len(second), sum(first), len(first))
    verdict = "undecided"
    if p < SIGNIFICANT:
        enough = more and wilson(sum(few), len(few))[1] > RARELY
        verdict = "supported in part, near-full sets do better but smaller ones train too" if enough else "supported"
    elif against < SIGNIFICANT:
        verdict = "contradicted"
    return (
        f"{name} {verdict}: on {what}, (m1 + m2) / n <= {FEW:g} succeeds in {_interval(few)}, >= {NEAR_FULL:g} in "
        f"{_interval(many)} (Fisher's exact test, one-sided p = {p:.2g}, which takes trials that share a setting for "
        "independent ones)."
    )


def _interval(outcomes: Sequence[bool]) -> str:
    low, high = wilson(sum(outcomes), len(outcomes))
    return f"{sum(outcomes)} of {len(outcomes)} trials ({low:.0%} to {high:.0%})"


def advice(points: Sequence[PhasePoint]) -> list[str]:
    """Return a sentence for each task that names the choice with the largest share of successes.

    A choice is an activation, a start and a number of reflectors relative to n; of equals, the one with the fewest
    reflectors is named. Only points with r T at most ``SAFE`` count.
    """
    found = []
    for task, own in group_by([p for p in points if p.r_t <= SAFE], lambda p: p.task).items():
        choices = group_by(own, lambda p: (p.activation, p.start, p.filling))
        ranked = sorted(choices.items(), key=lambda item: (-share(item[1]), item[0][2]))
        (activation, start, filling), best = ranked[0]
        if not any(point.success for point in best):
            found.append(f"**{task}**: no setting succeeded at r T <= {SAFE:g} within its steps.")
            continue
        outcomes = [point.success for point in best]
        low = wilson(sum(outcomes), len(outcomes))[0]
        others = sum(wilson(sum(p.success for p in o), len(o))[1] >= low for _, o in ranked[1:])
        found.append(
            f"**{task}**: at r T <= {SAFE:g} most trials succeeded with {activation} from start {start} and "
            f"(m1 + m2) / n = {filling:g}, {_interval(outcomes)}; among equals the fewest reflectors are named, and "
            f"the intervals of {others} of the {len(ranked) - 1} other choices overlap its own."
        )
    return found
