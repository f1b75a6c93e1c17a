"""The dry run of a sweep: its trials, its packs and its warnings, among them resources that no node has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from workers.errors import FieldError
from workers.runtime import pack_planner
from workers.spec.advice import warnings
from workers.spec.expand import plan_trials
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
    packs = pack_planner.plan(trials, spec.resources.pack_size, 1, spec.resources.gpus)
    return {
        "trials": len(trials),
        "shapes": sorted(Counter(trial.shape_key for trial in trials).values(), reverse=True),
        "packs": sorted(map(len, packs), reverse=True),
        "warnings": [warning.as_dict() for warning in (*warnings(spec), *no_room(spec, nodes))],
    }


def no_room(spec: SweepSpec, nodes: Sequence[NodeSize]) -> list[FieldError]:
    """Return warnings if no node is large enough for one pack of the sweep, which then waits for a larger node.

    There is one for the CPUs and one for the GPUs that no node has; or a single one if each is on some node, but both
    are on none. If ``nodes`` is empty, there are none.
    """
    if not nodes:
        return []
    needs, waits = spec.resources, "so the sweep waits"
    most = (max(cpus for cpus, _ in nodes), max(gpus for _, gpus in nodes))
    found = [
        FieldError(f"resources.{what}", given, f"is more than any node has now, {waits}", f"at most {there:g} here")
        for what, given, there in (("cpus", needs.cpus, most[0]), ("gpus", needs.gpus, most[1]))
        if given > there
    ]
    if not found and not any(cpus >= needs.cpus and gpus >= needs.gpus for cpus, gpus in nodes):
        both = f"{needs.cpus:g} CPUs and {needs.gpus:g} GPUs"
        has = " or ".join(f"{cpus:g} CPUs and {gpus:g} GPUs" for cpus, gpus in sorted(set(nodes))[:3])
        found.append(FieldError("resources", both, f"are on no node together now, {waits}", f"a node has {has}"))
    return found
