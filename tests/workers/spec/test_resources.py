"""What a sweep may ask of CPUs, GPUs, memory and labels, and which nodes have the labels."""

from __future__ import annotations

from typing import Any

import pytest
from ray._private.label_utils import validate_label_selector

from workers.errors import SpecError
from workers.spec.node_labels import has_labels, is_label_key, is_label_selector
from workers.spec.parse import parse_sweep
from workers.spec.sweep import SweepSpec

DOCUMENT: dict[str, Any] = {
    "task": {"name": "adding", "length": 20},
    "space": {"model.margin": {"values": [0.01]}},
}


@pytest.mark.parametrize(
    ("given", "number"),
    [(None, None), (1, 1), ("1000", 1000), ("8 GiB", 8 * 2**30), ("1.5GB", 1_500_000_000), ("512 MiB", 2**29)],
)
def test_memory_is_bytes_or_text_with_a_unit(given: Any, number: int | None) -> None:
    spec = parse_sweep(DOCUMENT | {"resources": {"memory": given}})
    assert spec.resources.memory == number
    assert SweepSpec.model_validate(spec.model_dump(mode="json")) == spec, "it is stored as a number"


@pytest.mark.parametrize(
    ("resources", "field", "problem"),
    [
        *(({"memory": given}, "resources.memory", "is not an amount of memory") for given in (0, -1, 1.5, True, "x")),
        ({"memory": "8 XiB"}, "resources.memory", "is not an amount of memory"),
        ({"memory": "2000 TiB"}, "resources.memory", "is not an amount of memory"),
        ({"gpus": 1.5}, "resources.gpus", "is neither a part of one GPU nor a whole number of them"),
        ({"gpus": 0.00001}, "resources.gpus", "is less than Ray can set aside"),
        ({"cpus": 0.00001}, "resources.cpus", "is less than Ray can set aside"),
        ({"labels": {"a b": "x"}}, "resources.labels", "has a key that no label can have"),
        ({"labels": {"zone": 1}}, "resources.labels.zone", "is not text"),
        ({"labels": {"zone": "!!a"}}, "resources.labels", "asks for '!!a' of zone, which is no value of a label"),
        ({"labels": {f"k{i}": "a" for i in range(17)}}, "resources.labels", "has more than 16 items"),
    ],
)
def test_what_ray_would_not_give_is_refused(resources: Any, field: str, problem: str) -> None:
    with pytest.raises(SpecError) as refused:
        parse_sweep(DOCUMENT | {"resources": resources})
    (error,) = refused.value.errors
    assert error.field == field
    assert error.problem.startswith(problem)


def test_what_an_earlier_release_has_stored_is_read() -> None:
    stored = DOCUMENT | {"resources": {"gpus": 1.5, "cpus": 1.0, "pack_size": "auto"}}
    spec = SweepSpec.model_validate(stored)
    assert (spec.priority, spec.max_parallel, spec.resources.labels, spec.resources.memory) == (0, None, {}, None)


@pytest.mark.parametrize("gpus", [0.25, 1.0, 4.0])
def test_parts_of_a_gpu_and_whole_ones_are_accepted(gpus: float) -> None:
    assert parse_sweep(DOCUMENT | {"resources": {"gpus": gpus}}).resources.gpus == gpus


@pytest.mark.parametrize(
    ("wanted", "on_a", "on_b", "without"),
    [
        ("a", True, False, False),
        ("!a", False, True, True),
        ("in(a, c)", True, False, False),
        ("in(a,b)", True, True, False),
        ("!in(a, b)", False, False, True),
    ],
)
def test_a_selector_chooses_nodes_as_ray_does(wanted: str, on_a: bool, on_b: bool, without: bool) -> None:
    nodes: list[dict[str, str]] = [{"zone": "a"}, {"zone": "b"}, {"other": "a"}]
    assert [has_labels(labels, {"zone": wanted}) for labels in nodes] == [on_a, on_b, without]
    assert has_labels({"zone": "a", "disk": "fast"}, {"zone": wanted, "disk": "fast"}) == on_a
    assert not has_labels({"zone": "a"}, {"zone": wanted, "disk": "fast"})


@pytest.mark.parametrize("key", ["zone", "ray.io/accelerator-type", "a/b/c", "-a", "a b", "", "x" * 64, "ray..io/a"])
@pytest.mark.parametrize("selector", ["a", "!a", "in(a, b)", "!in(a)", "in()", "!!a", "a b", "-a", "in(a"])
def test_what_is_accepted_is_what_ray_accepts(key: str, selector: str) -> None:
    by_ray = validate_label_selector({key: selector}) is None
    accepted = is_label_key(key) and is_label_selector(selector)
    assert accepted <= by_ray, "nothing is accepted that Ray would refuse when the runner starts"
    if key in ("zone", "ray.io/accelerator-type"):
        assert accepted == by_ray
