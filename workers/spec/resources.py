"""What one pack of a sweep gets: CPUs, GPUs, memory, and on which nodes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, FiniteFloat, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from workers.errors import FieldError
from workers.spec.base_spec import SpecPart
from workers.spec.node_labels import KEY_FORM, MAX_LABELS, SELECTOR_FORM, is_label_key, is_label_selector

SMALLEST = 0.0001
"""The smallest part of a CPU or a GPU that Ray can set aside."""
MAX_MEMORY = 2**50
"""The most bytes that a pack may ask for."""
_UNITS = {"": 1} | {f"{p}B": 1000**i for i, p in enumerate(("", "k", "M", "G", "T"))}
_UNITS |= {f"{p}iB": 1024**i for i, p in enumerate(("K", "M", "G", "T"), 1)} | {"KB": 1000}
_MEMORY = re.compile(r"([0-9]{1,16}(?:\.[0-9]{1,6})?) ?([A-Za-z]*)")


def _check_pack_size(value: Any) -> int | str:
    """Return ``value`` if it is a pack size or "auto", and raise otherwise."""
    if value == "auto":
        return "auto"
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 256:
        return value
    raise PydanticCustomError("pack_size", "is not a pack size", {"expected": '"auto" or a whole number from 1 to 256'})


PackSize = Annotated[
    int | Literal["auto"],
    PlainValidator(_check_pack_size),
    WithJsonSchema({"anyOf": [{"const": "auto"}, {"type": "integer", "minimum": 1, "maximum": 256}]}),
]


def _check_memory(value: Any) -> int | None:
    """Return a number of bytes, which may be given as text with a unit, or None; raise if it is neither."""
    if value is None:
        return None
    given = value if isinstance(value, int) and not isinstance(value, bool) else None
    match = _MEMORY.fullmatch(value) if isinstance(value, str) else None
    if match is not None and match[2] in _UNITS:
        given = round(float(match[1]) * _UNITS[match[2]])
    if given is not None and 1 <= given <= MAX_MEMORY:
        return given
    raise PydanticCustomError(
        "memory", "is not an amount of memory", {"expected": 'a number of bytes up to 1 PiB, or text such as "8 GiB"'}
    )


Memory = Annotated[
    int | None,
    PlainValidator(_check_memory),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1, "maximum": MAX_MEMORY},
                {"type": "string", "pattern": r"^[0-9]{1,16}(\.[0-9]{1,6})? ?([kKMGT]?B|[KMGT]iB)?$"},
                {"type": "null"},
            ]
        }
    ),
]


def _check_labels(labels: dict[str, str]) -> dict[str, str]:
    """Return ``labels`` if Ray accepts them as a label selector, and raise otherwise."""
    for key, selector in labels.items():
        if not is_label_key(key):
            raise PydanticCustomError("label_key", "has a key that no label can have", {"expected": KEY_FORM})
        if not is_label_selector(selector):
            problem = f"asks for {selector[:80]!r} of {key}, which is no value of a label and no choice of them"
            raise PydanticCustomError("label_selector", "{problem}", {"problem": problem, "expected": SELECTOR_FORM})
    return labels


class ResourcesSpec(SpecPart):
    """What one pack gets. A pack is a group of trials that one worker trains together."""

    gpus: FiniteFloat = Field(
        default=0.0, ge=0, le=64, description="GPUs per pack, 0.25 for a quarter of one; 0: train on the CPU"
    )
    cpus: FiniteFloat = Field(default=1.0, gt=0, le=1024, description="CPUs per pack")
    memory: Memory = Field(
        default=None, description='memory per pack that Ray sets aside, in bytes or as "8 GiB"; null: none'
    )
    labels: Annotated[dict[str, str], AfterValidator(_check_labels)] = Field(
        default={},
        max_length=MAX_LABELS,
        description='labels of Ray that the node has, as {"ray.io/accelerator-type": "H100"}; also "!H100", '
        '"in(H100, A100)" and "!in(H100, A100)"',
    )
    pack_size: PackSize = Field(default="auto", description="trials per pack; auto: as many as pays on the device")


def resource_errors(resources: ResourcesSpec) -> Iterator[FieldError]:
    """Yield what Ray would not give to any pack. Documents that earlier releases stored may ask for it."""
    for name, given in (("cpus", resources.cpus), ("gpus", resources.gpus)):
        if 0 < given < SMALLEST:
            yield FieldError(f"resources.{name}", given, "is less than Ray can set aside", f"at least {SMALLEST}")
    if resources.gpus > 1 and not resources.gpus.is_integer():
        problem = "is neither a part of one GPU nor a whole number of them"
        yield FieldError("resources.gpus", resources.gpus, problem, "a number up to 1, or a whole number")
