"""The dry run of a sweep: its trials, its packs and its warnings, among them resources that no node has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from workers.errors import FieldError
from workers.runtime import pack_planner
from workers.spec.advice import warnings
from workers.spec.expand import plan_trials
from workers.spec.search_checks import excluded_points
from workers.spec.sweep import SweepSpec

NodeSize = tuple[float, float]
"""The numbers of CPUs and GPUs of a node, used or not."""


def plan(spec: SweepSpec, nodes: Sequence[NodeSize] = ()) -> dict[str, Any]:
    """Return the fields of a ``DryRun``: the number of trials, their shapes, their packs for one worker, and warnings.

    Args:
        spec: A valid sweep.
        nodes: The nodes of the cluster; if empty, nothing is said about resources.

    Raises:
        SpecError: A trial cannot be built, because its values contradict each other.
    """
    trials = [plan.require_spec() for plan in plan_trials(spec)]
    packs = pack_planner.plan(trials, spec.resources.pack_size, 1, spec.resources.gpus, spec.repeats)
    return {
        "trials": len(trials),
        "points": len(trials) // spec.repeats,
        "repeats": spec.repeats,
        "excluded_points": excluded_points(spec),
        "shapes": sorted(Counter(trial.shape_key for trial in trials).values(), reverse=True),
        "packs": sorted(map(len, packs), reverse=True),
        "warnings": [
            warning.as_dict()
            for warning in (*warnings(spec), *no_room(spec.resources.cpus, spec.resources.gpus, nodes))
        ],
    }


def no_room(cpus: float, gpus: float, nodes: Sequence[NodeSize]) -> list[FieldError]:
    """Return warnings if no node has the CPUs and GPUs of one pack of a sweep, which then waits for a larger node.

    There is one for the CPUs and one for the GPUs that no node has; or a single one if each is on some node, but both
    are on none. If ``nodes`` is empty, there are none.
    """
    if not nodes:
        return []
    waits = "so the sweep waits"
    most = (max(has[0] for has in nodes), max(has[1] for has in nodes))
    found = [
        FieldError(f"resources.{what}", given, f"is more than any node has now, {waits}", f"at most {there:g} here")
        for what, given, there in (("cpus", cpus, most[0]), ("gpus", gpus, most[1]))
        if given > there
    ]
    if not found and not any(has[0] >= cpus and has[1] >= gpus for has in nodes):
        some = " or ".join(_words(*has) for has in sorted(set(nodes))[:3])
        problem = f"are on no node together now, {waits}"
        found.append(FieldError("resources", _words(cpus, gpus), problem, f"a node has {some}"))
    return found


def _words(cpus: float, gpus: float) -> str:
    return f"{cpus:g} CPUs and {gpus:g} GPUs"
