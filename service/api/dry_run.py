"""The dry run of a sweep: its trials and packs, how long it takes, and warnings, as of resources that no node has."""

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
from workers.spec.trial import TrialSpec

NodeSize = tuple[float, float]
"""The numbers of CPUs and GPUs of a node, used or not."""


def plan(spec: SweepSpec, trials: Sequence[TrialSpec], nodes: Sequence[NodeSize] = ()) -> dict[str, Any]:
    """Return the fields of a ``DryRun`` but its estimate: the trials, their shapes and packs, and warnings.

    Args:
        spec: A valid sweep.
        trials: All of its trials.
        nodes: The nodes of the cluster; if empty, nothing is said about resources.
    """
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


def trials_of(spec: SweepSpec) -> list[TrialSpec]:
    """Return all trials of a valid sweep, as they are proposed before any result is known.

    Raises:
        SpecError: A trial cannot be built, because its values contradict each other.
    """
    return [plan.require_spec() for plan in plan_trials(spec)]


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


def no_memory(
    needed: int, cpus: float, gpus: float, nodes: Sequence[NodeSize], memory: Sequence[int]
) -> FieldError | None:
    """Return a warning if the packs that a node runs at the same time need more memory than it has; None if not.

    Args:
        needed: The bytes that one worker needs.
        cpus: The CPUs of one pack.
        gpus: The GPUs of one pack.
        nodes: The nodes of the cluster.
        memory: The bytes of memory of each node; 0 where that is not known.
    """
    for (has_cpus, has_gpus), has in zip(nodes, memory, strict=True):
        packs = int(min(has_cpus // cpus, has_gpus // gpus if gpus else has_cpus // cpus))
        if has and packs * needed > has:
            problem = f"so that {packs} packs run on a node at the same time, which need {_gigabytes(packs * needed)}"
            allowed = f"a smaller pack_size, or more cpus for a pack: a node has {_gigabytes(has)} of memory"
            return FieldError("resources.cpus", cpus, f"is so small {problem}", allowed)
    return None


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB"


def _words(cpus: float, gpus: float) -> str:
    return f"{cpus:g} CPUs and {gpus:g} GPUs"
