"""The dry run of a sweep: its trials and packs, how long it takes, and warnings, as of resources that no node has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from service.store.components import NodeSize
from workers.errors import FieldError
from workers.runtime import pack_planner
from workers.spec.advice import warnings
from workers.spec.expand import plan_trials
from workers.spec.field_errors import shorten
from workers.spec.node_labels import has_labels
from workers.spec.resources import ResourcesSpec
from workers.spec.search_checks import excluded_points
from workers.spec.sweep import SweepSpec
from workers.spec.trial import TrialSpec

NODE_ID = "ray.io/node-id"
"""The label by which Ray tells nodes apart."""


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
        "warnings": [warning.as_dict() for warning in (*warnings(spec), *no_room(spec.resources.model_dump(), nodes))],
    }


def trials_of(spec: SweepSpec) -> list[TrialSpec]:
    """Return all trials of a valid sweep, as they are proposed before any result is known.

    Raises:
        SpecError: A trial cannot be built, because its values contradict each other.
    """
    return [plan.require_spec() for plan in plan_trials(spec)]


def no_room(resources: Mapping[str, Any], nodes: Sequence[NodeSize]) -> list[FieldError]:
    """Return warnings if no node has what one pack of a sweep needs, so that the sweep waits for another node.

    There is one for each of CPUs, GPUs, memory and labels that no node has; or a single one if each is on some node,
    but no node has all of it. If ``nodes`` is empty, there are none.

    Args:
        resources: The ``resources`` of the sweep's document, as any release stored them.
        nodes: The nodes of the cluster.
    """
    if not nodes:
        return []
    wanted = NodeSize(
        float(resources.get("cpus", 1.0)),
        float(resources.get("gpus", 0.0)),
        int(resources.get("memory") or 0),
        resources.get("labels") or {},
    )
    waits = "so the sweep waits"
    found = [
        FieldError(f"resources.{what}", given, f"is more than any node has now, {waits}", f"at most {most:g} here")
        for what, given, most in (
            ("cpus", wanted.cpus, max(node.cpus for node in nodes)),
            ("gpus", wanted.gpus, max(node.gpus for node in nodes)),
            ("memory", wanted.memory, max(node.memory for node in nodes)),
        )
        if given > most
    ]
    if not any(has_labels(node.labels, wanted.labels) for node in nodes):
        problem = f"are those of no node now, {waits}"
        found.append(FieldError("resources.labels", shorten(dict(wanted.labels)), problem, _labels_of(nodes)))
    if not found and not any(_holds(node, wanted) for node in nodes):
        some = " or ".join(dict.fromkeys(_words(node) for node in sorted(nodes, key=_words)[:3]))
        found.append(
            FieldError("resources", _words(wanted), f"are on no node together now, {waits}", f"a node has {some}")
        )
    return found


def _holds(node: NodeSize, wanted: NodeSize) -> bool:
    enough = node.cpus >= wanted.cpus and node.gpus >= wanted.gpus and node.memory >= wanted.memory
    return enough and has_labels(node.labels, wanted.labels)


def _labels_of(nodes: Sequence[NodeSize]) -> str:
    """Return some labels of the nodes, as an advice; those by which Ray tells nodes apart are left out."""
    labels = {f"{key}: {value}" for node in nodes for key, value in node.labels.items() if key != NODE_ID}
    return f"labels of a node here: {', '.join(sorted(labels)[:8])}" if labels else "leave them out: no node has any"


def _words(size: NodeSize) -> str:
    text = f"{size.cpus:g} CPUs and {size.gpus:g} GPUs"
    text += f" and {size.memory / 2**30:.3g} GiB of memory" if size.memory else ""
    labels = ", ".join(f"{key}: {value}" for key, value in size.labels.items() if key != NODE_ID)
    return f"{text} with {labels}" if labels else text


def no_memory(needed: int, resources: ResourcesSpec, nodes: Sequence[NodeSize]) -> FieldError | None:
    """Return a warning if the packs that a node runs at the same time need more memory than it has; None if not.

    Args:
        needed: The bytes that one worker needs.
        resources: What the sweep asks for, for one pack.
        nodes: The nodes of the cluster; their memory is 0 where it is not known.
    """
    for node in nodes:
        packs = int(node.cpus // resources.cpus)
        packs = min(packs, int(node.gpus // resources.gpus)) if resources.gpus else packs
        if node.memory and packs * needed > node.memory:
            problem = f"so that {packs} packs run on a node at the same time, which need {_gigabytes(packs * needed)}"
            allowed = f"a smaller pack_size, or more cpus for a pack: a node has {_gigabytes(node.memory)} of memory"
            return FieldError("resources.cpus", resources.cpus, f"is so small {problem}", allowed)
    return None


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
